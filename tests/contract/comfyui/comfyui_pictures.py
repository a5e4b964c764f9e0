"""Small workflows of one picture node each, run on the same input picture everywhere."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from comfyui_conversation import ComfyUI, unique
from PIL import Image

Json = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """`nodes` refer to the loaded pictures "a" and "b"; the result is output 0 of "x"."""

    name: str
    nodes: Json
    tolerance: int = 1
    """ComfyUI computes in floats and cuts off when it saves; we round at every step."""


def _one(name: str, class_type: str, tolerance: int = 1, **inputs: Any) -> Case:
    return Case(name, {"x": {"class_type": class_type, "inputs": inputs}}, tolerance)


def _as_picture(name: str, mask_from: list[Any], nodes: Json | None = None, tolerance: int = 1) -> Case:
    shown = {"x": {"class_type": "MaskToImage", "inputs": {"mask": mask_from}}}
    return Case(name, shown | (nodes or {}), tolerance)


A, B, A_MASK = ["a", 0], ["b", 0], ["a", 1]

# Interpolation weights differ in the last digits.
_SCALE_TOLERANCE = {"nearest-exact": 0, "bilinear": 2, "area": 2, "bicubic": 1, "lanczos": 1}

CASES = [
    _one("load", "ImageCrop", 0, image=A, x=0, y=0, width=64, height=64),
    _as_picture("load_mask", A_MASK),
    _as_picture("load_no_mask", ["b", 1], tolerance=0),
    _one("crop", "ImageCrop", 0, image=A, x=5, y=30, width=40, height=40),
    _one("invert", "ImageInvert", image=A),
    _one("blur_small", "ImageBlur", image=A, blur_radius=2, sigma=0.5),
    _one("blur_large", "ImageBlur", image=A, blur_radius=20, sigma=3.0),
    _one("batch", "ImageBatch", 2, image1=A, image2=B),
    *(
        _one(f"scale_{method}_{name}", "ImageScale", tolerance, image=A, upscale_method=method, crop=crop, **size)
        for method, tolerance in _SCALE_TOLERANCE.items()
        for name, crop, size in (
            ("up", "disabled", {"width": 97, "height": 71}),
            ("down", "disabled", {"width": 24, "height": 16}),
            ("center", "center", {"width": 40, "height": 40}),
        )
    ),
    _one(
        "scale_one_side", "ImageScale", 0, image=A, upscale_method="nearest-exact", width=0, height=20, crop="disabled"
    ),
    _one("scale_by", "ImageScaleBy", 1, image=A, upscale_method="lanczos", scale_by=0.37),
    *(
        _one(f"blend_{mode}", "ImageBlend", 2, image1=A, image2=["c", 0], blend_factor=0.7, blend_mode=mode)
        for mode in ("normal", "multiply", "screen", "overlay", "soft_light", "difference")
    ),
    _one("composite", "ImageCompositeMasked", 0, destination=A, source=B, x=20, y=10, resize_source=False),
    _one("composite_off_edge", "ImageCompositeMasked", 0, destination=A, source=B, x=50, y=40, resize_source=False),
    _one("composite_resized", "ImageCompositeMasked", 2, destination=A, source=B, x=0, y=0, resize_source=True),
    _one(
        "composite_masked",
        "ImageCompositeMasked",
        2,
        destination=B,
        source=A,
        x=0,
        y=0,
        resize_source=False,
        mask=A_MASK,
    ),
    _one("pad", "ImagePadForOutpaint", 1, image=A, left=8, top=16, right=0, bottom=24, feathering=10),
    _as_picture(
        "pad_mask",
        ["p", 1],
        {
            "p": {
                "class_type": "ImagePadForOutpaint",
                "inputs": {"image": A, "left": 8, "top": 16, "right": 0, "bottom": 24, "feathering": 10},
            }
        },
    ),
    _as_picture("invert_mask", ["m", 0], {"m": {"class_type": "InvertMask", "inputs": {"mask": A_MASK}}}),
    _as_picture(
        "image_to_mask", ["m", 0], {"m": {"class_type": "ImageToMask", "inputs": {"image": A, "channel": "green"}}}
    ),
    _one("repeat", "RepeatImageBatch", 0, image=B, amount=3),
    Case(
        "from_batch",
        {
            "two": {"class_type": "ImageBatch", "inputs": {"image1": A, "image2": ["c", 0]}},
            "x": {"class_type": "ImageFromBatch", "inputs": {"image": ["two", 0], "batch_index": 1, "length": 5}},
        },
    ),
]


def run_case(comfyui: ComfyUI, case: Case) -> Image.Image:
    """All frames of the result, side by side."""
    prompt = {
        "a": {"class_type": "LoadImage", "inputs": {"image": _uploaded(comfyui, "a", _gradient(64, 48))}},
        "b": {"class_type": "LoadImage", "inputs": {"image": _uploaded(comfyui, "b", _stripes(32, 32))}},
        "c": {"class_type": "LoadImage", "inputs": {"image": _uploaded(comfyui, "c", _stripes(64, 48))}},
        "save": {"class_type": "SaveImage", "inputs": {"images": ["x", 0], "filename_prefix": unique("pictures")}},
        **case.nodes,
    }
    run = comfyui.run(prompt)
    assert not run.data_of("execution_error"), run.data_of("execution_error")
    frames = [comfyui.picture(entry).convert("RGB") for entry in run.output("save")["images"]]
    sheet = Image.new("RGB", (sum(frame.width for frame in frames), frames[0].height))
    left = 0
    for frame in frames:
        sheet.paste(frame, (left, 0))
        left += frame.width
    return sheet


def _uploaded(comfyui: ComfyUI, name: str, picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    answer = comfyui.upload(f"contract-{name}.png", buffer.getvalue(), overwrite="true")
    stored: str = answer.json()["name"]
    return stored


def _gradient(width: int, height: int) -> Image.Image:
    """Smooth colours with an alpha that runs across."""
    pixels = bytearray()
    for y in range(height):
        for x in range(width):
            pixels += bytes((x * 255 // width, y * 255 // height, (x * y) % 256 // 2 + 60, 255 - x * 3))
    return Image.frombytes("RGBA", (width, height), bytes(pixels))


def _stripes(width: int, height: int) -> Image.Image:
    """Hard edges in both directions."""
    pixels = bytearray()
    for y in range(height):
        for x in range(width):
            pixels += bytes(((x // 5 % 2) * 200 + 20, (y // 7 % 2) * 180 + 40, (x + y) * 2 % 256))
    return Image.frombytes("RGB", (width, height), bytes(pixels))
