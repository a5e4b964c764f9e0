"""Model files on network volumes: where they lie, and the `extra_model_paths.yaml` that shows them to ComfyUI.

RunPod mounts a network volume at /runpod-volume on serverless workers and at /workspace on pods. Models are looked for
in its `models` folder and in `ComfyUI/models`, where a pod's own ComfyUI keeps them. Models that RunPod caches from
Hugging Face lie in the hub's own layout, which ComfyUI cannot read: they are shown to it through links.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from comfy_worker.model_folders import SUFFIXES, Folders

ROOTS = (Path("/runpod-volume"), Path("/workspace"))
#: Where below a root a `models` folder may be.
BASES = ("", "ComfyUI")
HUB_CACHE = "huggingface-cache/hub"
#: A cached repository keeps some models at its top, without saying what they are: these lists show them all.
LISTS_FOR_TOP_LEVEL_FILES = (
    "checkpoints", "diffusion_models", "text_encoders", "vae", "loras", "controlnet", "upscale_models"
)  # fmt: skip
#: Folders that hold programs, not models.
_PASSED_BY = frozenset(
    {"huggingface-cache", "custom_nodes", "site-packages", "node_modules", "venv", "output", "input"}
)
MOST_FILES = 50_000


@dataclass(frozen=True)
class VolumeFile:
    """One file of a `models` folder, or a model that lies outside of any."""

    #: The folder that holds `models`; for a file outside, the root it was found below.
    base: Path
    #: The folder below `models`, such as "checkpoints"; empty for a file that lies in none.
    place: str
    #: The path below `place`: what a workflow has to say.
    name: str
    size: int
    inside_models: bool = True

    @property
    def path(self) -> Path:
        return self.base / "models" / self.place / self.name if self.inside_models else self.base / self.name

    @property
    def basename(self) -> str:
        return PurePosixPath(self.name).name


@dataclass(frozen=True)
class CachedModel:
    """A Hugging Face repository that RunPod keeps on the worker's machine."""

    #: "organisation/name".
    name: str
    snapshot: Path
    #: Its model files, relative to `snapshot`.
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Survey:
    """What was found. `looked_at` are the mount points asked for, `roots` those that are there."""

    looked_at: tuple[Path, ...]
    roots: tuple[Path, ...]
    #: Folders with a `models` folder in them.
    bases: tuple[Path, ...]
    files: tuple[VolumeFile, ...]
    #: Folders below a `models` folder, empty ones too.
    places: frozenset[tuple[Path, str]] = frozenset()
    cached: tuple[CachedModel, ...] = ()
    unreadable: tuple[str, ...] = ()
    broken_links: tuple[Path, ...] = ()


def model_bases(roots: Sequence[Path]) -> list[Path]:
    return [root / base for root in roots for base in BASES if (root / base / "models").is_dir()]


def survey(comfyui_path: Path | None = None, roots: Sequence[Path] = ROOTS) -> Survey:
    """Look at the volumes (and at the models in the image, given ComfyUI's folder)."""
    unreadable: list[str] = []
    present = [root for root in roots if root.is_dir()]
    bases = model_bases(present)
    image = [comfyui_path] if comfyui_path and (comfyui_path / "models").is_dir() else []
    files = [file for base in [*bases, *image] for file in _files_of(base, unreadable)]
    outside = [file for root in present for file in _files_outside(root, bases, unreadable)]
    if outside:
        # What a link inside `models` leads to is where ComfyUI looks.
        reached = {os.path.realpath(file.path) for file in files}
        files += [file for file in outside if os.path.realpath(file.path) not in reached]
    broken = [file.path for file in files if file.size == 0 and not file.path.exists()]
    return Survey(
        looked_at=tuple(roots),
        roots=tuple(present),
        bases=tuple(bases),
        files=tuple(file for file in files if file.size or file.path not in broken),
        places=frozenset((base, entry.name) for base in bases for entry in _folders_in(base / "models")),
        cached=tuple(model for root in present for model in cached_models(root / HUB_CACHE)),
        unreadable=tuple(unreadable),
        broken_links=tuple(broken),
    )


def extra_model_paths(bases: Sequence[Path], folders: Folders, links: Path | None, custom_nodes: bool) -> str:
    """The YAML that ComfyUI's `--extra-model-paths-config` reads."""
    sections = [_section(f"volume_{number}", base, _lists_of(base, folders, custom_nodes))
                for number, base in enumerate(bases, 1)]  # fmt: skip
    if links is not None:
        sections.append(_section("cached_models", links, {name: [name] for name in folders}))
    return "".join(sections)


def cached_models(hub: Path) -> Iterator[CachedModel]:
    """The models in a Hugging Face cache, in the revision that `main` stands for."""
    for repository in sorted(hub.glob("models--*--*")):
        snapshot = _snapshot(repository)
        if snapshot is not None:
            name = repository.name.removeprefix("models--").replace("--", "/", 1)
            files = (path for path in sorted(snapshot.rglob("*")) if path.suffix.lower() in SUFFIXES and path.exists())
            yield CachedModel(name, snapshot, tuple(path.relative_to(snapshot) for path in files))


def link_cached_models(models: Iterable[CachedModel], folders: Folders, links: Path) -> None:
    """Fill `links` with a folder per list of ComfyUI, holding links to cached models."""
    for model in models:
        for file in model.files:
            for name in lists_for(file, folders):
                link = links / name / file.name
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.is_symlink():
                    link.symlink_to(model.snapshot / file)


def lists_for(file: Path, folders: Folders) -> Sequence[str]:
    """ComfyUI's lists for a file of a cached repository, by the folder it lies in there."""
    if len(file.parts) == 1:
        return [name for name in LISTS_FOR_TOP_LEVEL_FILES if name in folders]
    return [name for name, folder in folders.items() if file.parent.name in (name, *folder.places)]


def _snapshot(repository: Path) -> Path | None:
    """The snapshot of `main`, else the last one there is."""
    try:
        pinned = repository / "snapshots" / (repository / "refs" / "main").read_text(encoding="ascii").strip()
        if pinned.is_dir():
            return pinned
    except (OSError, UnicodeDecodeError):
        pass  # no such reference: the snapshots speak for themselves
    snapshots = sorted(repository.glob("snapshots/*"))
    return snapshots[-1] if snapshots else None


def _lists_of(base: Path, folders: Folders, custom_nodes: bool) -> dict[str, list[str]]:
    """ComfyUI's lists, and those that only custom nodes know: any further folder that is there."""
    lists = {name: [f"models/{place}" for place in folder.places] for name, folder in folders.items()}
    taken = {place for folder in folders.values() for place in folder.places}
    for entry in _folders_in(base / "models"):
        if entry.name not in taken and entry.name not in lists:
            lists[entry.name] = [f"models/{entry.name}"]
    if custom_nodes:
        lists["custom_nodes"] = ["custom_nodes"]
    return lists


def _section(name: str, base: Path, lists: Mapping[str, Sequence[str]]) -> str:
    # A JSON string is a YAML string, with the same escapes.
    lines = [f"{name}:", f"  base_path: {json.dumps(str(base))}"]
    lines += [f"  {json.dumps(key)}: {json.dumps(chr(10).join(paths))}" for key, paths in lists.items()]
    return "\n".join(lines) + "\n"


def _folders_in(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return []


def _files_of(base: Path, unreadable: list[str]) -> Iterator[VolumeFile]:
    for path, size in _walk(base / "models", unreadable):
        place, _, name = path.as_posix().partition("/")
        yield VolumeFile(base, place, name, size) if name else VolumeFile(base, "", place, size)


def _files_outside(root: Path, bases: Sequence[Path], unreadable: list[str]) -> Iterator[VolumeFile]:
    for path, size in _walk(root, unreadable, outside=[base / "models" for base in bases]):
        if path.suffix.lower() in SUFFIXES:
            yield VolumeFile(root, "", path.as_posix(), size, inside_models=False)


def _walk(folder: Path, unreadable: list[str], outside: Sequence[Path] | None = None) -> Iterator[tuple[Path, int]]:
    """The files below a folder with their sizes; what is hidden is left out.

    Links to folders are followed, as ComfyUI follows them, but not when what lies `outside` of the models is looked at.
    """
    count, been = 0, set()
    walk = os.walk(folder, onerror=lambda error: unreadable.append(str(error)), followlinks=outside is None)
    for parent, subfolders, names in walk:
        here = Path(parent)
        if (real := os.path.realpath(here)) in been:
            subfolders.clear()  # a link back to where we were
            continue
        been.add(real)
        subfolders[:] = sorted(name for name in subfolders if name[0] != "." and not _passed_by(here / name, outside))
        for name in sorted(name for name in names if name[0] != "."):
            count += 1
            if count > MOST_FILES:
                unreadable.append(f"{folder}: more than {MOST_FILES} files, the rest was not looked at")
                return
            yield (here / name).relative_to(folder), _size(here / name)


def _passed_by(folder: Path, outside: Sequence[Path] | None) -> bool:
    return outside is not None and (folder.name in _PASSED_BY or folder in outside)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
