"""Nodes for masks: InvertMask, MaskToImage, ImageToMask."""

from __future__ import annotations

from PIL import Image, ImageOps

from local_comfyui.nodes.declaration import Input, NodeCall, NodeResult, NodeType, choice
from local_comfyui.nodes.pictures import Images, Masks

_CHANNELS = ("red", "green", "blue", "alpha")


def _invert(call: NodeCall, mask: Masks) -> NodeResult:
    return NodeResult((Masks(tuple(ImageOps.invert(frame) for frame in mask.frames)),))


def _to_image(call: NodeCall, mask: Masks) -> NodeResult:
    return NodeResult((Images(tuple(Image.merge("RGB", (frame,) * 3) for frame in mask.frames)),))


def _to_mask(call: NodeCall, image: Images, channel: str) -> NodeResult:
    index = _CHANNELS.index(channel)
    if index >= len(image.frames[0].getbands()):
        raise IndexError(f"index {index} is out of bounds for dimension 3 with size {len(image.frames[0].getbands())}")
    return NodeResult((Masks(tuple(frame.getchannel(index) for frame in image.frames)),))


NODES = (
    NodeType(
        name="InvertMask",
        display_name="Invert Mask",
        category="image/mask",
        inputs=(Input("mask", "MASK"),),
        outputs=("MASK",),
        run=_invert,
        module="comfy_extras.nodes_mask",
        modern=True,
    ),
    NodeType(
        name="MaskToImage",
        display_name="Convert Mask to Image",
        category="image/mask",
        inputs=(Input("mask", "MASK"),),
        outputs=("IMAGE",),
        run=_to_image,
        module="comfy_extras.nodes_mask",
        modern=True,
    ),
    NodeType(
        name="ImageToMask",
        display_name="Convert Image to Mask",
        category="image/mask",
        inputs=(Input("image", "IMAGE"), choice("channel", *_CHANNELS)),
        outputs=("MASK",),
        run=_to_mask,
        module="comfy_extras.nodes_mask",
        modern=True,
    ),
)
