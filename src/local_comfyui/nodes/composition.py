"""Nodes that lay pictures over each other and widen them: ImageCompositeMasked, ImagePadForOutpaint."""

from __future__ import annotations

from PIL import Image, ImageChops

from local_comfyui.nodes.declaration import MAX_RESOLUTION, Input, NodeCall, NodeResult, NodeType, integer
from local_comfyui.nodes.pictures import Images, Masks
from local_comfyui.nodes.size import resized

# 0.5 of ComfyUI's float scale, cut to 8 bits as saving does.
_GREY = (127, 127, 127)


def _composite(
    call: NodeCall,
    destination: Images,
    source: Images,
    x: int,
    y: int,
    resize_source: bool,
    mask: Masks | None = None,
) -> NodeResult:
    if resize_source:
        width, height = destination.size
        source = source.each(lambda frame: resized(frame, width, height, "bilinear"))
    left, top = min(x, destination.size[0]), min(y, destination.size[1])
    frames = []
    for index, frame in enumerate(destination.frames):
        over = source.frame(index)
        stencil = None if mask is None else resized(mask.frame(index), over.width, over.height, "bilinear")
        result = frame.copy()
        result.paste(over, (left, top), stencil)
        frames.append(result)
    return NodeResult((Images(tuple(frames)),))


def _pad(call: NodeCall, image: Images, left: int, top: int, right: int, bottom: int, feathering: int) -> NodeResult:
    width, height = image.size
    outer = (left + width + right, top + height + bottom)

    def widened(frame: Image.Image) -> Image.Image:
        canvas = Image.new("RGB", outer, _GREY)
        canvas.paste(frame, (left, top))
        return canvas

    mask = Image.new("L", outer, 255)
    mask.paste(_feathered((width, height), (left, top, right, bottom), feathering), (left, top))
    return NodeResult((image.each(widened), Masks((mask,))))


def _feathered(size: tuple[int, int], margins: tuple[int, int, int, int], feathering: int) -> Image.Image:
    """Black, but fading to white towards each widened edge."""
    width, height = size
    if feathering <= 0 or feathering * 2 >= min(size):
        return Image.new("L", size, 0)
    left, top, right, bottom = margins
    columns = _ramp(width, feathering, before=left != 0, after=right != 0)
    rows = _ramp(height, feathering, before=top != 0, after=bottom != 0)
    across = Image.frombytes("L", (width, 1), columns).resize(size, Image.Resampling.NEAREST)
    down = Image.frombytes("L", (1, height), rows).resize(size, Image.Resampling.NEAREST)
    return ImageChops.lighter(across, down)


def _ramp(length: int, feathering: int, *, before: bool, after: bool) -> bytes:
    """The mask along one axis: the square of how far a pixel lies inside the feathered edge."""

    def weight(position: int) -> int:
        distance = min(position if before else length, length - position if after else length)
        return round(255 * max(0.0, (feathering - distance) / feathering) ** 2)

    return bytes(map(weight, range(length)))


NODES = (
    NodeType(
        name="ImageCompositeMasked",
        display_name="Image Composite Masked",
        category="image/compositing",
        inputs=(
            Input("destination", "IMAGE"),
            Input("source", "IMAGE"),
            integer("x", 0, 0, MAX_RESOLUTION, 1),
            integer("y", 0, 0, MAX_RESOLUTION, 1),
            Input("resize_source", "BOOLEAN", {"default": False}),
            Input("mask", "MASK", optional=True),
        ),
        outputs=("IMAGE",),
        run=_composite,
        module="comfy_extras.nodes_mask",
        modern=True,
    ),
    NodeType(
        name="ImagePadForOutpaint",
        display_name="Pad Image for Outpainting",
        category="image/transform",
        inputs=(
            Input("image", "IMAGE"),
            *(integer(side, 0, 0, MAX_RESOLUTION, 8) for side in ("left", "top", "right", "bottom")),
            integer("feathering", 40, 0, MAX_RESOLUTION, 1, advanced=True),
        ),
        outputs=("IMAGE", "MASK"),
        run=_pad,
    ),
)
