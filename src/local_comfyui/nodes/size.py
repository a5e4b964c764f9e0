"""Nodes that change a picture's size: ImageScale, ImageScaleBy, ImageCrop."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

from PIL import Image, ImageMath

from local_comfyui.nodes.declaration import (
    MAX_RESOLUTION,
    Input,
    NodeCall,
    NodeResult,
    NodeType,
    choice,
    integer,
    number,
)
from local_comfyui.nodes.pictures import Images

METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "lanczos")

# torch's bicubic curve has this slope; Pillow's two have others (-0.5 in resize(), -1 in transform()).
_BICUBIC_SLOPE = -0.75


def resized(picture: Image.Image, width: int, height: int, method: str, crop: str = "disabled") -> Image.Image:
    """ComfyUI's upscale for one picture; `crop="center"` first cuts it to the target's proportions."""
    if crop == "center":
        picture = _center_part(picture, width, height)
    if picture.size == (width, height):
        return picture
    if method == "bilinear":
        # Without smoothing when it gets smaller, as in torch: Pillow's resize() would smooth.
        matrix = (picture.width / width, 0, 0, 0, picture.height / height, 0)
        return picture.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    if method == "bicubic":
        return Image.merge(picture.mode, [_bicubic(band, width, height) for band in picture.split()])
    if method == "lanczos":
        return picture.resize((width, height), Image.Resampling.LANCZOS)
    windows = _nearest_windows if method == "nearest-exact" else _area_windows
    narrowed = _columns_averaged(picture, windows(picture.width, width))
    turned = _columns_averaged(narrowed.transpose(Image.Transpose.TRANSPOSE), windows(picture.height, height))
    return turned.transpose(Image.Transpose.TRANSPOSE)


def _nearest_windows(old: int, new: int) -> list[tuple[int, int]]:
    """For each new column the one old column it copies, reckoned in single precision as torch does."""
    scale = _single(old / new)
    columns = (math.floor(_single(scale * (column + 0.5))) for column in range(new))
    return [(min(column, old - 1), min(column, old - 1) + 1) for column in columns]


def _area_windows(old: int, new: int) -> list[tuple[int, int]]:
    """For each new column the old columns of which it is the mean; they overlap where the sizes do not divide."""
    return [(column * old // new, -(-(column + 1) * old // new)) for column in range(new)]


def _columns_averaged(picture: Image.Image, windows: list[tuple[int, int]]) -> Image.Image:
    result = Image.new(picture.mode, (len(windows), picture.height))
    for column, (start, end) in enumerate(windows):
        part = picture.crop((start, 0, end, picture.height))
        if end - start > 1:
            part = part.resize((1, picture.height), Image.Resampling.BOX)
        result.paste(part, (column, 0))
    return result


def _bicubic(band: Image.Image, width: int, height: int) -> Image.Image:
    """Not smoothed either. In floats to the end, because the curve overshoots."""
    narrowed = _bicubic_columns(band.convert("F"), width).transpose(Image.Transpose.TRANSPOSE)
    result = _bicubic_columns(narrowed, height).transpose(Image.Transpose.TRANSPOSE)
    return computed(lambda of: of["convert"](of["sum"] + 0.5, "L"), sum=result)


def _bicubic_columns(band: Image.Image, new: int) -> Image.Image:
    """Each new column is a weighted sum of the four old ones around its place; past an edge the edge is repeated."""
    places = [(column + 0.5) * band.width / new - 0.5 for column in range(new)]
    total = Image.new("F", (new, band.height))
    for tap in (-1, 0, 1, 2):
        sources = [min(max(math.floor(place) + tap, 0), band.width - 1) for place in places]
        weights = [_bicubic_weight(math.floor(place) + tap - place) for place in places]
        row = Image.frombytes("F", (new, 1), struct.pack(f"{new}f", *weights))
        total = computed(
            lambda of: of["total"] + of["columns"] * of["weights"],
            total=total,
            columns=_columns_averaged(band, [(source, source + 1) for source in sources]),
            weights=row.resize(total.size, Image.Resampling.NEAREST),
        )
    return total


def _bicubic_weight(distance: float) -> float:
    x, a = abs(distance), _BICUBIC_SLOPE
    return ((a + 2) * x - (a + 3)) * x * x + 1 if x <= 1 else a * (((x - 5) * x + 8) * x - 4)


def computed(formula: Callable[[dict[str, Any]], Any], **pictures: Image.Image) -> Image.Image:
    """The picture that a formula of ImageMath makes of others."""
    result = ImageMath.lambda_eval(formula, **pictures)
    assert isinstance(result, Image.Image)
    return result


def _single(value: float) -> float:
    """The nearest single precision number."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def _center_part(picture: Image.Image, width: int, height: int) -> Image.Image:
    old_aspect, new_aspect = picture.width / picture.height, width / height
    x = y = 0
    if old_aspect > new_aspect:
        x = round((picture.width - picture.width * (new_aspect / old_aspect)) / 2)
    elif old_aspect < new_aspect:
        y = round((picture.height - picture.height * (old_aspect / new_aspect)) / 2)
    return picture.crop((x, y, picture.width - x, picture.height - y))


def _scale(call: NodeCall, image: Images, upscale_method: str, width: int, height: int, crop: str) -> NodeResult:
    old_width, old_height = image.size
    if width == 0 and height == 0:
        return NodeResult((image,))
    # A zero keeps the proportions.
    if width == 0:
        width = max(1, round(old_width * height / old_height))
    elif height == 0:
        height = max(1, round(old_height * width / old_width))
    return NodeResult((image.each(lambda frame: resized(frame, width, height, upscale_method, crop)),))


def _scale_by(call: NodeCall, image: Images, upscale_method: str, scale_by: float) -> NodeResult:
    width, height = (round(side * scale_by) for side in image.size)
    if width < 1 or height < 1:
        raise RuntimeError(f"Input and output sizes should be greater than 0, but got output (H: {height}, W: {width})")
    return NodeResult((image.each(lambda frame: resized(frame, width, height, upscale_method)),))


def _crop(call: NodeCall, image: Images, width: int, height: int, x: int, y: int) -> NodeResult:
    across, down = image.size
    left, top = min(x, across - 1), min(y, down - 1)
    box = (left, top, min(left + width, across), min(top + height, down))
    return NodeResult((image.each(lambda frame: frame.crop(box)),))


NODES = (
    NodeType(
        name="ImageScale",
        display_name="Upscale Image",
        category="image/upscaling",
        inputs=(
            Input("image", "IMAGE"),
            choice("upscale_method", *METHODS),
            integer("width", 512, 0, MAX_RESOLUTION, 1),
            integer("height", 512, 0, MAX_RESOLUTION, 1),
            choice("crop", "disabled", "center"),
        ),
        outputs=("IMAGE",),
        run=_scale,
    ),
    NodeType(
        name="ImageScaleBy",
        display_name="Upscale Image By",
        category="image/upscaling",
        inputs=(
            Input("image", "IMAGE"),
            choice("upscale_method", *METHODS),
            number("scale_by", 1.0, 0.01, 8.0, 0.01),
        ),
        outputs=("IMAGE",),
        run=_scale_by,
    ),
    NodeType(
        name="ImageCrop",
        display_name="Crop Image (DEPRECATED)",
        category="image/transform",
        inputs=(
            Input("image", "IMAGE"),
            integer("width", 512, 1, MAX_RESOLUTION, 1),
            integer("height", 512, 1, MAX_RESOLUTION, 1),
            integer("x", 0, 0, MAX_RESOLUTION, 1),
            integer("y", 0, 0, MAX_RESOLUTION, 1),
        ),
        outputs=("IMAGE",),
        run=_crop,
        module="comfy_extras.nodes_images",
        modern=True,
        deprecated=True,
    ),
)
