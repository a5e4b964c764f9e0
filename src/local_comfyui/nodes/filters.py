"""Nodes that change a picture's pixels: ImageInvert, ImageBlur, ImageBlend."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from PIL import Image, ImageChops, ImageOps

from local_comfyui.nodes.declaration import Input, NodeCall, NodeResult, NodeType, choice, integer, number
from local_comfyui.nodes.pictures import Images
from local_comfyui.nodes.size import computed, resized


def _invert(call: NodeCall, image: Images) -> NodeResult:
    return NodeResult((image.each(ImageOps.invert),))


# --- blur -----------------------------------------------------------------------------------------------------------

_FIXED_POINT = 1 << 16
"""Kernel weights are integers in these units; an 8-bit value times this stays below 32 bits."""


def kernel_weights(radius: int, sigma: float) -> list[int]:
    """Weights of the taps 0..radius of ComfyUI's blur, one axis (its two-dimensional kernel is their product).

    Its kernel spans -1..1 whatever the radius, so sigma counts in radii, not in pixels.
    """
    taps = [math.exp(-((step / radius) ** 2) / (2 * sigma * sigma)) for step in range(radius + 1)]
    total = taps[0] + 2 * sum(taps[1:])
    weights = [round(_FIXED_POINT * tap / total) for tap in taps[1:]]
    return [_FIXED_POINT - 2 * sum(weights), *weights]


def _blur(call: NodeCall, image: Images, blur_radius: int, sigma: float) -> NodeResult:
    if blur_radius >= min(image.size):
        raise RuntimeError(
            f"Padding size should be less than the corresponding input dimension, but got: padding "
            f"({blur_radius}, {blur_radius}) for an image of {image.size[0]}x{image.size[1]}"
        )
    weights = kernel_weights(blur_radius, sigma)
    return NodeResult((image.each(lambda frame: _blurred(frame, weights)),))


def _blurred(picture: Image.Image, weights: list[int]) -> Image.Image:
    bands = [_blur_axis(_blur_axis(band, weights, across=True), weights, across=False) for band in picture.split()]
    return Image.merge(picture.mode, bands)


def _blur_axis(band: Image.Image, weights: list[int], *, across: bool) -> Image.Image:
    radius = len(weights) - 1
    width, height = band.size
    padded = _reflected(band, radius, across=across)

    def shifted(step: int) -> Image.Image:
        left, top = (radius + step, 0) if across else (0, radius + step)
        return padded.crop((left, top, left + width, top + height))

    total = computed(lambda of: of["tap"] * weights[0] + _FIXED_POINT // 2, tap=shifted(0))
    for step, weight in enumerate(weights[1:], start=1):
        if weight:
            total = _with_taps(total, weight, shifted(-step), shifted(step))
    return computed(lambda of: of["convert"](of["total"] / _FIXED_POINT, "L"), total=total)


def _with_taps(total: Image.Image, weight: int, before: Image.Image, after: Image.Image) -> Image.Image:
    return computed(
        lambda of: of["total"] + (of["before"] + of["after"]) * weight, total=total, before=before, after=after
    )


def _reflected(band: Image.Image, radius: int, *, across: bool) -> Image.Image:
    """The band with `radius` mirrored pixels before and after; the edge pixel itself is not repeated."""
    width, height = band.size
    if across:
        mirrored = ImageOps.mirror(band)
        padded = Image.new(band.mode, (width + 2 * radius, height))
        padded.paste(mirrored.crop((width - 1 - radius, 0, width - 1, height)), (0, 0))
        padded.paste(band, (radius, 0))
        padded.paste(mirrored.crop((1, 0, 1 + radius, height)), (radius + width, 0))
    else:
        mirrored = ImageOps.flip(band)
        padded = Image.new(band.mode, (width, height + 2 * radius))
        padded.paste(mirrored.crop((0, height - 1 - radius, width, height - 1)), (0, 0))
        padded.paste(band, (0, radius))
        padded.paste(mirrored.crop((0, 1, width, 1 + radius)), (0, radius + height))
    return padded


# --- blend ----------------------------------------------------------------------------------------------------------


def _soft_light(first: Image.Image, second: Image.Image) -> Image.Image:
    bands = [_soft_light_band(a, b) for a, b in zip(first.split(), second.split(), strict=True)]
    return Image.merge("RGB", bands)


def _soft_light_band(first: Image.Image, second: Image.Image) -> Image.Image:
    darker = _each_pixel(lambda a, b: a - (1 - 2 * b) * a * (1 - a), first, second)
    # The curve that brightens depends on the first picture alone, so a table does it.
    curve = first.point([round(255 * _brightened(value / 255)) for value in range(256)])
    lighter = _each_pixel(lambda a, b, g: a + (2 * b - 1) * (g - a), first, second, curve)
    return Image.composite(darker, lighter, second.point([255 if value <= 127 else 0 for value in range(256)]))


def _brightened(value: float) -> float:
    return ((16 * value - 12) * value + 4) * value if value <= 0.25 else math.sqrt(value)


def _each_pixel(formula: Callable[..., Any], *bands: Image.Image) -> Image.Image:
    """Compute a formula on bands scaled to 0..1."""
    names = {str(index): band for index, band in enumerate(bands)}
    return computed(
        lambda of: of["convert"](formula(*(of["float"](of[name]) / 255.0 for name in names)) * 255.0 + 0.5, "L"),
        **names,
    )


def _overlay(first: Image.Image, second: Image.Image) -> Image.Image:
    dark = first.point([255 if value <= 127 else 0 for value in range(256)] * 3)
    product = ImageChops.multiply(first, second)
    bright = ImageChops.screen(first, second)
    # Twice the product where the first picture is dark, twice the screen minus one where it is bright.
    low = ImageChops.add(product, product)
    high = bright.point([max(0, 2 * value - 255) for value in range(256)] * 3)
    return Image.merge(
        "RGB", [Image.composite(a, b, c) for a, b, c in zip(low.split(), high.split(), dark.split(), strict=True)]
    )


_MODES: dict[str, Callable[[Image.Image, Image.Image], Image.Image]] = {
    "normal": lambda first, second: second,
    "multiply": ImageChops.multiply,
    "screen": ImageChops.screen,
    "overlay": _overlay,
    "soft_light": _soft_light,
}


def _blend(call: NodeCall, image1: Images, image2: Images, blend_factor: float, blend_mode: str) -> NodeResult:
    width, height = image1.size
    other = image2.each(lambda frame: resized(frame, width, height, "bicubic", "center"))
    count = max(len(image1.frames), len(other.frames))
    if min(len(image1.frames), len(other.frames)) not in (1, count):
        raise RuntimeError(
            f"The size of tensor a ({len(image1.frames)}) must match the size of tensor b ({len(other.frames)}) "
            f"at non-singleton dimension 0"
        )
    frames = [_blend_pair(image1.frame(n), other.frame(n), blend_factor, blend_mode) for n in range(count)]
    return NodeResult((Images(tuple(frames)),))


def _blend_pair(first: Image.Image, second: Image.Image, factor: float, mode: str) -> Image.Image:
    if mode == "difference":
        # a(1-f) + (a-b)f = a - bf: ComfyUI's difference is signed, and only the blend of both is clamped at black.
        return ImageChops.subtract(first, second.point([round(value * factor) for value in range(256)] * 3))
    return Image.blend(first, _MODES[mode](first, second), factor)


NODES = (
    NodeType(
        name="ImageInvert",
        display_name="Invert Image Colors",
        category="image/color",
        inputs=(Input("image", "IMAGE"),),
        outputs=("IMAGE",),
        run=_invert,
    ),
    NodeType(
        name="ImageBlur",
        display_name="Blur Image",
        category="image/filters",
        inputs=(
            Input("image", "IMAGE"),
            integer("blur_radius", 1, 1, 31, 1),
            number("sigma", 1.0, 0.1, 10.0, 0.1),
        ),
        outputs=("IMAGE",),
        run=_blur,
        module="comfy_extras.nodes_post_processing",
        modern=True,
    ),
    NodeType(
        name="ImageBlend",
        display_name="Blend Images",
        category="image/filters",
        inputs=(
            Input("image1", "IMAGE"),
            Input("image2", "IMAGE"),
            number("blend_factor", 0.5, 0.0, 1.0, 0.01),
            choice("blend_mode", *_MODES, "difference"),
        ),
        outputs=("IMAGE",),
        run=_blend,
        module="comfy_extras.nodes_post_processing",
        modern=True,
    ),
)
