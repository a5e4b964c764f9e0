"""The folders a ComfyUI works in, and the rules for names inside them."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

MODEL_SUFFIXES = frozenset({".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft"})

# Folder names in the order `GET /models` lists them (recording `probes`), with the sub-folders of `models` they read.
MODEL_FOLDERS: dict[str, tuple[str, ...]] = {
    "checkpoints": ("checkpoints",),
    "configs": ("configs",),
    "loras": ("loras",),
    "vae": ("vae",),
    "text_encoders": ("text_encoders", "clip"),
    "diffusion_models": ("unet", "diffusion_models"),
    "clip_vision": ("clip_vision",),
    "style_models": ("style_models",),
    "embeddings": ("embeddings",),
    "diffusers": ("diffusers",),
    "vae_approx": ("vae_approx",),
    "controlnet": ("controlnet", "t2i_adapter"),
    "gligen": ("gligen",),
    "upscale_models": ("upscale_models",),
    "latent_upscale_models": ("latent_upscale_models",),
    "custom_nodes": ("custom_nodes",),
    "hypernetworks": ("hypernetworks",),
    "photomaker": ("photomaker",),
    "classifiers": ("classifiers",),
    "model_patches": ("model_patches",),
    "audio_encoders": ("audio_encoders",),
    "background_removal": ("background_removal",),
    "frame_interpolation": ("frame_interpolation",),
    "geometry_estimation": ("geometry_estimation",),
    "optical_flow": ("optical_flow",),
    "detection": ("detection",),
}


@dataclass(frozen=True)
class Folders:
    """Absolute paths of the four folders."""

    input: Path
    output: Path
    temp: Path
    models: Path

    @classmethod
    def under(
        cls,
        base: Path | str,
        *,
        input_directory: Path | str | None = None,
        output_directory: Path | str | None = None,
        temp_directory: Path | str | None = None,
    ) -> Folders:
        """The folders below `base`; a temp directory of its own still gets the last part `temp`, as in ComfyUI."""
        root = Path(base).absolute()
        temp = Path(temp_directory).absolute() if temp_directory else root
        return cls(
            input=Path(input_directory).absolute() if input_directory else root / "input",
            output=Path(output_directory).absolute() if output_directory else root / "output",
            temp=temp / "temp",
            models=root / "models",
        )

    def create(self) -> None:
        for folder in (self.input, self.output, self.temp, self.models):
            folder.mkdir(parents=True, exist_ok=True)

    def empty_temp(self) -> None:
        """Previews of an earlier process are of no use to anybody; ComfyUI removes them at start and at exit."""
        shutil.rmtree(self.temp, ignore_errors=True)

    def of_type(self, kind: str) -> Path | None:
        return {"input": self.input, "output": self.output, "temp": self.temp}.get(kind)

    def annotated(self, name: str) -> tuple[str, Path | None]:
        """Split `picture.png [output]` into the name and the folder it asks for."""
        for kind in ("output", "input", "temp"):
            mark = f"[{kind}]"
            if name.endswith(mark):
                return name[: -len(mark) - 1], self.of_type(kind)
        return name, None

    def input_file(self, name: str) -> Path | None:
        """The existing file a LoadImage names, or None. Unlike ComfyUI it never leaves the folder."""
        plain, folder = self.annotated(name)
        path = inside(folder or self.input, plain)
        return path if path is not None and path.exists() else None

    def input_images(self) -> list[str]:
        names = (entry.name for entry in _entries(self.input) if entry.is_file())
        return sorted(name for name in names if Path(name).suffix.lower() in _IMAGE_SUFFIXES)

    def model_files(self, folder: str) -> list[str] | None:
        """What `GET /models/{folder}` lists; None for a folder ComfyUI does not know."""
        if folder not in MODEL_FOLDERS:
            return None
        found: set[str] = set()
        for sub_folder in MODEL_FOLDERS[folder]:
            root = self.models / sub_folder
            found.update(
                path.relative_to(root).as_posix()
                for path in root.rglob("*")
                if path.is_file() and path.suffix.lower() in MODEL_SUFFIXES
            )
        return sorted(found)


_IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ico", ".avif", ".jfif", ".svg"}
)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []


def inside(base: Path, name: str) -> Path | None:
    """`base/name` when that stays below `base`, else None. Symlinks are not resolved, as in ComfyUI."""
    if "\0" in name:
        return None
    path = os.path.abspath(os.path.join(base, name))
    try:
        common = os.path.commonpath((path, base))
    except ValueError:
        return None
    return Path(path) if common == str(base) else None


@dataclass(frozen=True)
class SavePlace:
    """Where a save node writes: `folder / f"{stem}_{counter:05}_.png"`."""

    folder: Path
    stem: str
    counter: int
    subfolder: str


def save_place(prefix: str, base: Path, width: int, height: int) -> SavePlace:
    """Resolve a `filename_prefix`: placeholders, sub-folders, and the first free counter."""
    normal = os.path.normpath(_fill_placeholders(prefix, width, height))
    subfolder, stem = os.path.dirname(normal), os.path.basename(normal)
    folder = inside(base, subfolder)
    if folder is None:
        # The type is part of the contract: ComfyUI raises a plain Exception, and clients see `"Exception"`.
        raise Exception(f"Saving image outside the output folder is not allowed: {prefix!r} (output folder: {base})")
    folder.mkdir(parents=True, exist_ok=True)
    return SavePlace(folder, stem, _next_counter(folder, stem), subfolder)


def _fill_placeholders(prefix: str, width: int, height: int) -> str:
    now = time.localtime()
    values = {
        "width": str(width),
        "height": str(height),
        "year": str(now.tm_year),
        "month": f"{now.tm_mon:02}",
        "day": f"{now.tm_mday:02}",
        "hour": f"{now.tm_hour:02}",
        "minute": f"{now.tm_min:02}",
        "second": f"{now.tm_sec:02}",
    }
    for key, value in values.items():
        prefix = prefix.replace(f"%{key}%", value)
    return prefix


def _next_counter(folder: Path, stem: str) -> int:
    highest = 0
    for entry in _entries(folder):
        if not entry.name.startswith(f"{stem}_"):
            continue
        digits = entry.name[len(stem) + 1 :].split(".")[0].split("_")[0]
        highest = max(highest, int(digits) if digits.isdecimal() else 0)
    return highest + 1
