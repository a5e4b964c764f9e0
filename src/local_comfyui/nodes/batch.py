"""Nodes that put batches of pictures together and take them apart: ImageBatch, RepeatImageBatch, ImageFromBatch."""

from __future__ import annotations

from local_comfyui.nodes.declaration import MAX_RESOLUTION, Input, NodeCall, NodeResult, NodeType, integer
from local_comfyui.nodes.pictures import Images
from local_comfyui.nodes.size import resized


def _batch(call: NodeCall, image1: Images, image2: Images) -> NodeResult:
    width, height = image1.size
    fitted = image2.each(lambda frame: resized(frame, width, height, "bilinear", "center"))
    return NodeResult((Images(image1.frames + fitted.frames),))


def _repeat(call: NodeCall, image: Images, amount: int) -> NodeResult:
    return NodeResult((Images(image.frames * amount),))


def _pick(call: NodeCall, image: Images, batch_index: int, length: int) -> NodeResult:
    count = len(image.frames)
    wanted = batch_index + count if batch_index < 0 else batch_index
    first = max(0, min(count - 1, wanted))
    return NodeResult((Images(image.frames[first : first + length]),))


NODES = (
    NodeType(
        name="ImageBatch",
        display_name="Batch Images (DEPRECATED)",
        category="image/batch",
        inputs=(Input("image1", "IMAGE"), Input("image2", "IMAGE")),
        outputs=("IMAGE",),
        run=_batch,
        deprecated=True,
    ),
    NodeType(
        name="RepeatImageBatch",
        display_name="Repeat Image Batch",
        category="image/batch",
        inputs=(Input("image", "IMAGE"), integer("amount", 1, 1, 4096)),
        outputs=("IMAGE",),
        run=_repeat,
        module="comfy_extras.nodes_images",
        modern=True,
    ),
    NodeType(
        name="ImageFromBatch",
        display_name="Get Image from Batch",
        category="image/batch",
        inputs=(
            Input("image", "IMAGE"),
            integer("batch_index", 0, -MAX_RESOLUTION, MAX_RESOLUTION),
            integer("length", 1, 1, 4096),
        ),
        outputs=("IMAGE",),
        run=_pick,
        module="comfy_extras.nodes_images",
        modern=True,
    ),
)
