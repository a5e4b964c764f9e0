"""ComfyUI's model folders: which exist, where below `models` they lie, and which files each of them takes.

ComfyUI keeps the list in `folder_paths.py` as plain assignments. That file is read as text, not run, so asking takes
milliseconds and needs neither ComfyUI's Python nor torch. Where there is none (the embedded ComfyUI, one on another
machine), the list is that of ComfyUI 0.26.0.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

#: ComfyUI's `supported_pt_extensions`.
SUFFIXES = frozenset({".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft"})
ANY = frozenset({""})
#: Lists of ComfyUI that hold no models.
NOT_MODELS = frozenset({"custom_nodes", "configs"})


@dataclass(frozen=True)
class ModelFolder:
    """One of ComfyUI's lists of files."""

    name: str
    #: Folders below `models`; the first is the one to use.
    places: tuple[str, ...]
    suffixes: frozenset[str] = SUFFIXES

    def takes(self, filename: str) -> bool:
        return self.suffixes == ANY or filename.lower().endswith(tuple(self.suffixes))


Folders = Mapping[str, ModelFolder]


def _shipped() -> dict[str, ModelFolder]:
    plain = (
        "checkpoints loras vae clip_vision style_models embeddings vae_approx gligen upscale_models "
        "latent_upscale_models hypernetworks photomaker model_patches audio_encoders background_removal "
        "frame_interpolation geometry_estimation optical_flow detection"
    )
    folders = [ModelFolder(name, (name,)) for name in plain.split()]
    folders += [
        ModelFolder("text_encoders", ("text_encoders", "clip")),
        ModelFolder("diffusion_models", ("diffusion_models", "unet")),
        ModelFolder("controlnet", ("controlnet", "t2i_adapter")),
        ModelFolder("classifiers", ("classifiers",), ANY),
        ModelFolder("diffusers", ("diffusers",), ANY),
    ]
    return {folder.name: folder for folder in folders}


SHIPPED: Folders = _shipped()


def model_folders(comfyui_path: Path | None) -> Folders:
    """The folders of the ComfyUI in `comfyui_path`, or those of ComfyUI 0.26.0 where it cannot be asked."""
    try:
        source = (comfyui_path / "folder_paths.py").read_text(encoding="utf-8") if comfyui_path else ""
    except OSError:
        source = ""
    return parse(source) or SHIPPED


def parse(source: str) -> dict[str, ModelFolder]:
    """The assignments `folder_names_and_paths["name"] = ([paths], suffixes)`. Empty when there are none."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return {}
    found = {folder.name: folder for folder in _assignments(tree)}
    return {name: folder for name, folder in found.items() if name not in NOT_MODELS}


def _assignments(tree: ast.Module) -> Iterator[ModelFolder]:
    for statement in tree.body:
        match statement:
            case ast.Assign(
                targets=[
                    ast.Subscript(value=ast.Name(id="folder_names_and_paths"), slice=ast.Constant(value=str(name)))
                ],
                value=ast.Tuple(elts=[ast.List(elts=paths), suffixes]),
            ):
                places = tuple(place for path in paths if (place := _below_models(path)))
                if places:
                    yield ModelFolder(name, _preferred_first(name, places), _suffixes(suffixes))


def _below_models(path: ast.expr) -> str | None:
    """`os.path.join(models_dir, "a", "b")` as "a/b"."""
    match path:
        case ast.Call(args=[ast.Name(id="models_dir"), *rest]):
            parts = [part.value for part in rest if isinstance(part, ast.Constant) and isinstance(part.value, str)]
            return "/".join(parts) or None
    return None


def _preferred_first(name: str, places: tuple[str, ...]) -> tuple[str, ...]:
    """Two folders have an old second name; ComfyUI lists one of them old name first."""
    return tuple(sorted(places, key=lambda place: place != name))


def _suffixes(node: ast.expr) -> frozenset[str]:
    if isinstance(node, ast.Name):
        return SUFFIXES
    try:
        values = frozenset(ast.literal_eval(node))
    except (ValueError, TypeError):
        return SUFFIXES
    # "folder" and "" stand for "no suffix decides".
    return values if values and all(value.startswith(".") for value in values) else ANY
