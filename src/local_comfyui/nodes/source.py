"""Nodes that bring pictures into a workflow: LoadImage, LoadImageMask, EmptyImage."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageOps, ImageSequence

from local_comfyui.folders import Folders
from local_comfyui.nodes.declaration import MAX_RESOLUTION, Input, NodeCall, NodeResult, NodeType, choice, integer
from local_comfyui.nodes.pictures import NO_MASK_SIZE, Images, Masks


def _load(call: NodeCall, name: str) -> tuple[Images, Masks]:
    path = call.folders.input_file(name)
    if path is None:
        raise FileNotFoundError(f"[Errno 2] No such file or directory: {name!r}")
    frames: list[Image.Image] = []
    masks: list[Image.Image] = []
    with Image.open(path) as opened:
        for raw in ImageSequence.Iterator(opened):
            frame = ImageOps.exif_transpose(raw)
            if frames and frame.size != frames[0].size:
                continue
            frames.append(_as_rgb(frame))
            masks.append(_alpha_mask(frame))
    return Images(tuple(frames)), Masks(tuple(masks))


def _as_rgb(frame: Image.Image) -> Image.Image:
    if frame.mode.startswith("I"):
        # 16-bit grey: convert() would clip everything over 255 to white.
        frame = frame.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    return frame.convert("RGB")


def _alpha_mask(frame: Image.Image) -> Image.Image:
    if frame.mode == "P" and "transparency" in frame.info:
        frame = frame.convert("RGBA")
    if "A" in frame.getbands():
        return ImageOps.invert(frame.getchannel("A"))
    return Image.new("L", NO_MASK_SIZE, 0)


def _load_image(call: NodeCall, image: str) -> NodeResult:
    return NodeResult(_load(call, image))


def _load_image_mask(call: NodeCall, image: str, channel: str) -> NodeResult:
    pictures, alpha = _load(call, image)
    if channel == "alpha":
        return NodeResult((alpha,))
    band = {"red": "R", "green": "G", "blue": "B"}[channel]
    return NodeResult((Masks(tuple(frame.getchannel(band) for frame in pictures.frames)),))


def _check_image(folders: Folders, image: Any) -> bool | str:
    return True if folders.input_file(image) is not None else f"Invalid image file: {image}"


def _hash_image(folders: Folders, inputs: Mapping[str, Any]) -> str:
    """An uploaded file may be replaced under its old name: the content decides, not the name."""
    path = folders.input_file(inputs["image"])
    if path is None:
        raise FileNotFoundError(inputs["image"])
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _empty_image(call: NodeCall, width: int, height: int, batch_size: int, color: int) -> NodeResult:
    rgb = (color >> 16 & 0xFF, color >> 8 & 0xFF, color & 0xFF)
    return NodeResult((Images((Image.new("RGB", (width, height), rgb),) * batch_size),))


_IMAGE_FILE = Input("image", "COMBO", {"image_upload": True}, choices=lambda folders: folders.input_images())

NODES = (
    NodeType(
        name="LoadImage",
        display_name="Load Image",
        category="image",
        inputs=(_IMAGE_FILE,),
        outputs=("IMAGE", "MASK"),
        run=_load_image,
        checked_inputs=("image",),
        check=_check_image,
        fingerprint=_hash_image,
    ),
    NodeType(
        name="LoadImageMask",
        display_name="Load Image (as Mask)",
        category="image",
        inputs=(_IMAGE_FILE, choice("channel", "alpha", "red", "green", "blue")),
        outputs=("MASK",),
        run=_load_image_mask,
        checked_inputs=("image",),
        check=_check_image,
        fingerprint=_hash_image,
    ),
    NodeType(
        name="EmptyImage",
        display_name="Empty Image",
        category="image",
        inputs=(
            integer("width", 512, 1, MAX_RESOLUTION, 1),
            integer("height", 512, 1, MAX_RESOLUTION, 1),
            integer("batch_size", 1, 1, 4096),
            integer("color", 0, 0, 0xFFFFFF, 1, display="color"),
        ),
        outputs=("IMAGE",),
        run=_empty_image,
    ),
)
