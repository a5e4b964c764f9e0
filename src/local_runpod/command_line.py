"""The command line of `python -m local_runpod`."""

from __future__ import annotations

import argparse
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path

from .settings import PREFIX, describe

_ABOUT = """
A RunPod serverless endpoint on this machine: /run, /runsync, /status, /health ... for clients, and the worker API for
workers made with the runpod SDK.

  python -m local_runpod                                     the endpoint alone; workers connect by environment
  python -m local_runpod serve --worker "python handler.py"  endpoint and workers, until Ctrl-C
  python -m local_runpod once --worker "python handler.py"   the same for one job, its files go into a folder
"""


@dataclass(frozen=True)
class Options:
    """What the command line says. Settings named there are written into the environment the rest is read from."""

    command: str
    host: str | None = None
    port: int | None = None
    fd: int | None = None
    worker: str = ""
    workers: int | None = None
    comfyui: str = ""
    ready_timeout: float = 600.0
    request: Path = Path("test_input.json")
    output: Path = Path("output")

    def environment(self) -> dict[str, str]:
        given = {"HOST": self.host, "PORT": self.port, "WORKERS": self.workers}
        return {PREFIX + name: str(value) for name, value in given.items() if value is not None}


def parse_arguments(arguments: list[str]) -> Options:
    values = vars(_parser().parse_args(arguments))
    values["command"] = values["command"] or "endpoint"
    if values["command"] == "once" and values.get("port") is None:
        values["port"] = 0
    return Options(**values)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local_runpod",
        description=_ABOUT,
        epilog=_knob_table(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_address(parser)
    parser.add_argument("--fd", type=int, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", metavar="serve | once")
    serve = commands.add_parser("serve", help="endpoint and workers, until Ctrl-C")
    once = commands.add_parser("once", help="endpoint and workers for one job")
    for command in (serve, once):
        _add_address(command)
        command.add_argument(
            "--worker",
            type=_program,
            required=True,
            metavar="COMMAND",
            help="command that starts one worker; {number} in it counts the workers from 1",
        )
        command.add_argument(
            "--workers", type=_positive, metavar="N", help=f"how many; overrides {PREFIX}WORKERS (default 1)"
        )
        command.add_argument(
            "--comfyui", type=_command, default="", metavar="COMMAND", help="command that starts ComfyUI, if any"
        )
        command.add_argument(
            "--ready-timeout", type=float, default=600.0, metavar="S", help="give up after so long (default 600)"
        )
    once.add_argument("--request", type=Path, default=Path("test_input.json"), metavar="FILE", help="body to send")
    once.add_argument("--output", type=Path, default=Path("output"), metavar="FOLDER", help="where files are written")
    return parser


def _add_address(parser: argparse.ArgumentParser) -> None:
    # No default: what is absent after the sub-command must not undo what was given before it.
    parser.add_argument("--host", default=argparse.SUPPRESS, help=f"overrides {PREFIX}HOST")
    parser.add_argument(
        "--port", type=int, default=argparse.SUPPRESS, help=f"overrides {PREFIX}PORT; 0 picks a free one"
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _command(text: str) -> str:
    """A command line that can be taken apart into words."""
    try:
        shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}: {text}") from None
    return text


def _program(text: str) -> str:
    if not _command(text).strip():
        raise argparse.ArgumentTypeError("is empty")
    return text


def _knob_table() -> str:
    knobs = list(describe())
    width = max(len(variable) for variable, _, _ in knobs)
    lines = [f"  {variable:{width}}  {about}{f' [{default}]' if default else ''}" for variable, default, about in knobs]
    return textwrap.dedent("environment variables [default]:\n") + "\n".join(lines)
