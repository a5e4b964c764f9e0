"""Output nodes: SaveImage, PreviewImage, SaveAnimatedWEBP, SaveAnimatedPNG, SaveImageWebsocket."""

from __future__ import annotations

import itertools
import json
import random
import string
from collections.abc import Mapping
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from local_comfyui.folders import Folders, SavePlace, save_place
from local_comfyui.nodes.declaration import Input, Json, NodeCall, NodeResult, NodeType, choice, integer, number
from local_comfyui.nodes.pictures import Images

_WEBP_EFFORT = {"default": 4, "fastest": 0, "slowest": 6}
_never_twice = itertools.count()


def _metadata(call: NodeCall) -> dict[str, str]:
    """What ComfyUI writes into a picture so that the workflow can be loaded from it again."""
    return {key: json.dumps(value) for key, value in {"prompt": call.prompt, **(call.extra_pnginfo or {})}.items()}


def _save_frames(call: NodeCall, images: Images, prefix: str, kind: str, compress_level: int) -> NodeResult:
    folder = call.folders.output if kind == "output" else call.folders.temp
    place = save_place(prefix, folder, *images.size)
    info = PngInfo()
    for key, text in _metadata(call).items():
        info.add_text(key, text)
    saved = []
    for number_in_batch, frame in enumerate(images.frames):
        stem = place.stem.replace("%batch_num%", str(number_in_batch))
        name = f"{stem}_{place.counter + number_in_batch:05}_.png"
        frame.save(place.folder / name, pnginfo=info, compress_level=compress_level)
        saved.append({"filename": name, "subfolder": place.subfolder, "type": kind})
    return NodeResult((images,), {"images": saved})


def _save(call: NodeCall, images: Images, filename_prefix: str = "ComfyUI") -> NodeResult:
    return _save_frames(call, images, filename_prefix, "output", compress_level=4)


def _preview(call: NodeCall, images: Images) -> NodeResult:
    random_part = "".join(random.choices(string.ascii_lowercase, k=5))
    return _save_frames(call, images, f"ComfyUI_temp_{random_part}", "temp", compress_level=1)


def _animation(images: Images, place: SavePlace, name: str, **options: Any) -> NodeResult:
    first, *rest = images.frames
    first.save(place.folder / name, save_all=True, append_images=rest, **options)
    ui: Json = {"images": [{"filename": name, "subfolder": place.subfolder, "type": "output"}]}
    if rest:
        # Recordings `output_animated_webp` and `output_animated_png`: still under images, with a flag of its own.
        ui["animated"] = [True]
    return NodeResult((images,), ui)


def _save_webp(
    call: NodeCall, images: Images, filename_prefix: str, fps: float, lossless: bool, quality: int, method: str
) -> NodeResult:
    place = save_place(filename_prefix, call.folders.output, *images.size)
    exif = Image.Exif()
    # The tags ComfyUI uses: the prompt as the camera's model, everything else from the maker's tag downwards.
    exif[0x0110] = "prompt:" + json.dumps(call.prompt)
    for offset, (key, value) in enumerate((call.extra_pnginfo or {}).items()):
        exif[0x010F - offset] = f"{key}:{json.dumps(value)}"
    return _animation(
        images,
        place,
        f"{place.stem}_{place.counter:05}_.webp",
        duration=int(1000.0 / fps),
        exif=exif,
        lossless=lossless,
        quality=quality,
        method=_WEBP_EFFORT[method],
    )


def _save_apng(call: NodeCall, images: Images, filename_prefix: str, fps: float, compress_level: int) -> NodeResult:
    place = save_place(filename_prefix, call.folders.output, *images.size)
    info = PngInfo()
    for key, text in _metadata(call).items():
        info.add(b"comf", key.encode("latin-1", "replace") + b"\0" + text.encode("latin-1", "replace"), after_idat=True)
    return _animation(
        images,
        place,
        f"{place.stem}_{place.counter:05}_.png",
        pnginfo=info,
        compress_level=compress_level,
        duration=int(1000.0 / fps),
    )


def _send_frames(call: NodeCall, images: Images) -> NodeResult:
    for index, frame in enumerate(images.frames):
        call.report_progress(index, len(images.frames), frame)
    return NodeResult()


def _always_new(folders: Folders, inputs: Mapping[str, Any]) -> int:
    """Nothing is left of a sent picture that a cached run could name again."""
    return next(_never_twice)


_IMAGES = Input("images", "IMAGE")
_PREFIX = Input("filename_prefix", "STRING", {"default": "ComfyUI"})
_MODERN_PREFIX = Input("filename_prefix", "STRING", {"default": "ComfyUI", "multiline": False})
_FPS = number("fps", 6.0, 0.01, 1000.0, 0.01)

NODES = (
    NodeType(
        name="SaveImage",
        display_name="Save Image",
        category="image",
        inputs=(_IMAGES, _PREFIX),
        outputs=("IMAGE",),
        output_names=("images",),
        run=_save,
        output_node=True,
        metadata=True,
    ),
    NodeType(
        name="PreviewImage",
        display_name="Preview Image",
        category="image",
        inputs=(_IMAGES,),
        outputs=("IMAGE",),
        output_names=("images",),
        run=_preview,
        output_node=True,
        metadata=True,
    ),
    NodeType(
        name="SaveAnimatedWEBP",
        display_name="Save Animated WEBP",
        category="image",
        inputs=(
            _IMAGES,
            _MODERN_PREFIX,
            _FPS,
            Input("lossless", "BOOLEAN", {"default": True}),
            integer("quality", 80, 0, 100),
            choice("method", *_WEBP_EFFORT),
        ),
        outputs=("IMAGE",),
        output_names=("images",),
        run=_save_webp,
        output_node=True,
        metadata=True,
        module="comfy_extras.nodes_images",
        modern=True,
    ),
    NodeType(
        name="SaveAnimatedPNG",
        display_name="Save Animated PNG",
        category="image",
        inputs=(_IMAGES, _MODERN_PREFIX, _FPS, integer("compress_level", 4, 0, 9, advanced=True)),
        outputs=("IMAGE",),
        output_names=("images",),
        run=_save_apng,
        output_node=True,
        metadata=True,
        module="comfy_extras.nodes_images",
        modern=True,
    ),
    NodeType(
        name="SaveImageWebsocket",
        display_name="Save Image (Websocket)",
        category="image",
        inputs=(_IMAGES,),
        outputs=(),
        run=_send_frames,
        output_node=True,
        module="custom_nodes.websocket_image_save",
        fingerprint=_always_new,
    ),
)
