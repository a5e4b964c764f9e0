"""`python -m comfy_worker`: what an operator or a container asks of the worker besides running jobs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from comfy_worker import doctor, volume
from comfy_worker.comfyui.process import answers
from comfy_worker.config import Settings
from comfy_worker.errors import ConfigError
from comfy_worker.model_folders import model_folders


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        settings = Settings.from_env(os.environ)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if options.command == "doctor":
        return _doctor(settings.comfyui_path, options.volume or volume.ROOTS)
    if options.command == "healthy":
        return 0 if answers(settings.comfy_host) else 1
    _write_model_paths(settings.comfyui_path, options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m comfy_worker", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    about = "say what is on the network volume, and what is wrong there (exit code 1)"
    look = commands.add_parser("doctor", help=about)
    paths = commands.add_parser("model-paths", help="write the extra_model_paths.yaml that shows the volume to ComfyUI")
    paths.add_argument("file", type=Path)
    paths.add_argument("--custom-nodes", action="store_true", help="let ComfyUI load the volume's custom_nodes too")
    for command in (look, paths):
        command.add_argument(
            "--volume", type=Path, action="append", help="mount point (default: /runpod-volume and /workspace)"
        )
    commands.add_parser("healthy", help="exit code 0 when ComfyUI answers")
    return parser


def _doctor(comfyui_path: Path | None, roots: Sequence[Path]) -> int:
    folders = model_folders(comfyui_path)
    found = volume.survey(comfyui_path, roots)
    sys.stdout.write("\n".join(doctor.report(found, folders)) + "\n")
    return 1 if doctor.problems(found, folders) else 0


def _write_model_paths(comfyui_path: Path | None, options: argparse.Namespace) -> None:
    """The file, and beside it the links to cached models; nothing where there is no volume."""
    roots = [root for root in options.volume or volume.ROOTS if root.is_dir()]
    folders = model_folders(comfyui_path)
    links = options.file.with_name("cached-models")
    cached = [model for root in roots for model in volume.cached_models(root / volume.HUB_CACHE)]
    volume.link_cached_models(cached, folders, links)
    bases = volume.model_bases(roots)
    text = volume.extra_model_paths(bases, folders, links if cached else None, options.custom_nodes)
    if text:
        options.file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
