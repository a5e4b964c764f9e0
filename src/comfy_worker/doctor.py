"""What is wrong with the models on the network volume, in plain words.

`python -m comfy_worker doctor` and NETWORK_VOLUME_DEBUG=true print the whole `report`; `volume_hints` explains single
files that ComfyUI did not find. All of it is pure: the looking is done by `volume.survey`.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from comfy_worker.model_folders import NOT_MODELS, SUFFIXES, Folders
from comfy_worker.volume import ROOTS, Survey, VolumeFile, lists_for

#: What downloads leave behind when they break off.
UNFINISHED = (".part", ".partial", ".crdownload", ".tmp", ".incomplete", ".aria2", ".download")
#: Files that nobody takes for models.
BESIDE_MODELS = (".txt", ".md", ".json", ".yaml", ".yml", ".png", ".jpg", ".jpeg", ".webp", ".sha256", ".metadata",
                 ".gitattributes")  # fmt: skip
#: A model is never this small; a Git LFS pointer (134 bytes or so) and an error page are.
SMALLEST_MODEL = 1024
#: Of models outside `models`, so many are named: a volume may hold other programs and their data.
MOST_OUTSIDE = 10
#: The lists behind the inputs of ComfyUI's loaders, by the beginning of the input's name.
LIST_OF_INPUT = {
    "ckpt_name": "checkpoints", "unet_name": "diffusion_models", "vae_name": "vae", "lora_name": "loras",
    "clip_name": "text_encoders", "text_encoder": "text_encoders", "control_net_name": "controlnet",
    "style_model_name": "style_models", "gligen_name": "gligen", "hypernetwork_name": "hypernetworks",
    "audio_encoder_name": "audio_encoders", "photomaker_model_name": "photomaker", "model_name": "upscale_models",
    "bg_removal_name": "background_removal", "name": "model_patches",
}  # fmt: skip


def report(found: Survey, folders: Folders) -> list[str]:
    """Everything, line by line; the problems are the lines after "Problems:"."""
    lines = list(_volumes(found))
    for base in dict.fromkeys(file.base for file in found.files if file.inside_models and not _is_beside(file)):
        lines.append(f"Models in {base / 'models'}:")
        lines += _contents([file for file in found.files if file.base == base and file.inside_models])
    for model in found.cached:
        lines.append(f"Cached by RunPod: {model.name}")
        lines += [f"  {file}: shown in {', '.join(lists_for(file, folders)) or 'no list'}" for file in model.files]
    lines += [f"Note: {note}" for note in notes(found, folders)]
    troubles = problems(found, folders)
    lines += ["Problems:", *(f"  - {trouble}" for trouble in troubles)] if troubles else ["No problems found."]
    return lines


def problems(found: Survey, folders: Folders) -> list[str]:
    """One sentence each: what, where, what to do."""
    # One that was asked for by name; the default ones may be absent.
    absent = [root for root in found.looked_at if root not in found.roots and root not in ROOTS]
    empty = [root for root in found.roots if not _has_models(found, str(root))]
    outside = [file for file in found.files if not file.inside_models]
    more = len(outside) - MOST_OUTSIDE
    return [
        *(f"{root} is not there: attach the network volume, or name the folder it is mounted at" for root in absent),
        *(f"{root} is there but has no `models` folder: put models into {root}/models/checkpoints, "
          f"{root}/models/loras and so on" for root in empty),
        *(f"{folder} ({_count(folder, found)}) is not read by ComfyUI: did you mean models/{meant}?"
          for folder, meant in _strange_folders(found, folders) if meant),
        *(text for file in found.files if file.inside_models and (text := _wrong_file(file, folders))),
        *(_outside(file) for file in outside[:MOST_OUTSIDE]),
        *([f"{more} more models lie outside `models`"] if more > 0 else []),
        *(f"{path} is a link to a file that is not there" for path in found.broken_links),
        *(f"cannot be read: {text}" for text in found.unreadable),
    ]  # fmt: skip


def notes(found: Survey, folders: Folders) -> list[str]:
    """What may be right or wrong."""
    nothing = [] if found.roots else ["no network volume is mounted: ComfyUI has the models of the image alone"]
    return nothing + [
        f"{folder} ({_count(folder, found)}) is none of ComfyUI's own folders: only custom nodes may read it"
        for folder, meant in _strange_folders(found, folders)
        if not meant
    ]


def volume_hints(missing: Sequence[tuple[str, str]], found: Survey, folders: Folders) -> list[str]:
    """For files that ComfyUI did not find, as (input name, value) of a refusal: where they are or ought to be."""
    return [hint for name, value in missing for hint in _hints(name, value, found, folders)]


def _hints(input_name: str, value: str, found: Survey, folders: Folders) -> Iterator[str]:
    wanted = _list_of(input_name)
    hints = [text for file in found.files if (text := _explain(file, wanted, value, folders))]
    if hints:
        yield from hints[:3]
        return
    target = folders[wanted].places[0] if wanted in folders else "<folder>"
    if not found.roots:
        places = " or ".join(map(str, found.looked_at))
        yield f"'{value}': no network volume is mounted at {places}, and the image does not have the file"
        return
    yield f"'{value}' is nowhere on the network volume: put it into {found.roots[0]}/models/{target}"
    near = [file.name for file in found.files if file.place in _places_of(wanted, folders)]
    similar = difflib.get_close_matches(value, near, n=1, cutoff=0.75)
    if similar:
        yield f"'{value}': did you mean '{similar[0]}'?"


def _explain(file: VolumeFile, wanted: str, value: str, folders: Folders) -> str | None:
    """Why this file, which may be the one meant by `value`, is not it."""
    basename = value.replace("\\", "/").rpartition("/")[2]
    same = file.basename == basename
    if not same and file.basename.lower() != basename.lower():
        return _other_suffix(file, basename)
    if not file.inside_models:
        target = folders[wanted].places[0] if wanted in folders else "<folder>"
        return f"'{basename}' lies in {file.path.parent}, outside `models`: move it to {file.base}/models/{target}"
    right = _places_of(wanted, folders)
    if right and file.place not in right:
        lies = f"models/{file.place}" if file.place else "`models` itself"
        return f"'{basename}' lies in {lies}, but is read from models/{right[0]}: move it there"
    if file.name != value:
        return f"'{value}': the file is called '{file.name}' (folder and upper case count)"
    return _wrong_file(file, folders) or f"{file.path} is there: was it there when this worker started?"


def _other_suffix(file: VolumeFile, basename: str) -> str | None:
    if file.basename.startswith(basename) and file.basename.lower().endswith(UNFINISHED):
        return f"{file.path} is an unfinished download: finish it or rename it to '{basename}'"
    stem, _, suffix = basename.rpartition(".")
    if stem and file.basename.rpartition(".")[0] == stem and f".{suffix}" != file.basename:
        return f"'{basename}' is not there, but '{file.name}' is in {file.path.parent}"
    return None


def _wrong_file(file: VolumeFile, folders: Folders) -> str | None:
    if _is_beside(file):
        return None
    name = file.basename.lower()
    if name.endswith(UNFINISHED):
        return f"{file.path} is an unfinished download: finish it or delete it"
    folder = next((folder for folder in folders.values() if file.place in folder.places), None)
    if not file.place:
        return f"{file.path} lies directly in `models`: move it into the folder of its kind, such as models/vae"
    if folder is None:
        return None
    if not folder.takes(name):
        return _wrong_suffix(file, folder.suffixes)
    if file.size < SMALLEST_MODEL and name.endswith(tuple(SUFFIXES)):
        return f"{file.path} has only {file.size} bytes: not a model, but perhaps a Git LFS pointer or an error page"
    return None


def _outside(file: VolumeFile) -> str:
    return f"{file.path} lies outside `models`, where ComfyUI does not look: move it into {file.base}/models/..."


def _wrong_suffix(file: VolumeFile, suffixes: frozenset[str]) -> str:
    if file.basename.lower().endswith(".gguf"):
        return f"{file.path}: ComfyUI reads .gguf only with a custom node such as ComfyUI-GGUF"
    return f"{file.path}: this suffix is not read in models/{file.place} (but {', '.join(sorted(suffixes))})"


def _strange_folders(found: Survey, folders: Folders) -> Iterator[tuple[Path, str]]:
    """Folders that are none of ComfyUI's, each with the one that was probably meant, or ""."""
    known = {place for folder in folders.values() for place in folder.places} | NOT_MODELS
    for base, place in sorted(found.places):
        if place not in known:
            similar = difflib.get_close_matches(place.lower().replace("-", "_"), sorted(known), n=1, cutoff=0.85)
            yield base / "models" / place, similar[0] if similar else ""


def _count(folder: Path, found: Survey) -> str:
    count = sum(1 for file in found.files if file.path.is_relative_to(folder))
    return f"{count} file" + ("" if count == 1 else "s")


def _volumes(found: Survey) -> Iterator[str]:
    for root in found.looked_at:
        bases = [str(base / "models") for base in found.bases if base.is_relative_to(root)]
        if root not in found.roots:
            yield f"{root}: not mounted"
        else:
            yield f"{root}: mounted, models in {', '.join(bases) or 'none'}"


def _contents(files: Sequence[VolumeFile]) -> Iterator[str]:
    models = [file for file in files if not _is_beside(file)]
    counts = Counter(file.place for file in models)
    for place in sorted(counts):
        yield f"  {place or '(directly in models)'}: {counts[place]}"
        yield from (f"    {file.name}  {_amount(file.size)}" for file in models if file.place == place)


def _is_beside(file: VolumeFile) -> bool:
    """ComfyUI keeps its empty folders with files such as `put_vae_here`."""
    return file.basename.lower().endswith(BESIDE_MODELS) or file.basename.startswith("put_")


def _has_models(found: Survey, root: str) -> bool:
    in_bases = any(base.is_relative_to(root) for base in found.bases)
    return in_bases or bool(found.cached)


def _list_of(input_name: str) -> str:
    """`clip_name2` stands for `clip_name`, `lora_name_1` for `lora_name`."""
    return LIST_OF_INPUT.get(input_name.rstrip("0123456789").rstrip("_"), "")


def _places_of(name: str, folders: Folders) -> tuple[str, ...]:
    return folders[name].places if name in folders else ()


def _amount(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size} bytes"
