"""The embedded server as a program, started like a real ComfyUI."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from local_comfyui.faults import Faults
from local_comfyui.folders import Folders
from local_comfyui.journal import Journal
from local_comfyui.server import ComfyServer, ServerOptions

log = logging.getLogger("local_comfyui")

# Validation takes three frames a node: chains as long as ComfyUI validates, about 950 nodes.
_RECURSION_LIMIT = 3000

_EVERYWHERE = "0.0.0.0"
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our own and ComfyUI's options; what else ComfyUI might understand comes back as the second value."""
    parser = argparse.ArgumentParser(
        prog="local_comfyui",
        description="A stand-in for ComfyUI that computes pictures on the CPU, without models.",
        epilog="Other options of ComfyUI are accepted and ignored.",
        allow_abbrev=False,
    )
    parser.add_argument("--listen", nargs="?", default="127.0.0.1", const=_EVERYWHERE, metavar="ADDRESS")
    parser.add_argument("--port", type=int, default=8188)
    parser.add_argument(
        "--base-directory",
        "--directory",
        default=".comfyui",
        help="holds input, output, temp and models (default: %(default)s here)",
    )
    parser.add_argument("--input-directory", help="instead of input below the base directory")
    parser.add_argument("--output-directory", help="instead of output below the base directory")
    parser.add_argument("--temp-directory", help="the directory in which temp is made")
    parser.add_argument("--verbose", nargs="?", default="INFO", const="DEBUG", type=str.upper, choices=_LEVELS)
    parser.add_argument("--test-nodes", action="store_true", help="register the nodes for tests")
    parser.add_argument("--strict-prompt-ids", action="store_true", help="refuse prompt ids that are no UUIDs")
    return parser.parse_known_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options, ignored = parse(sys.argv[1:] if arguments is None else arguments)
    sys.setrecursionlimit(_RECURSION_LIMIT)
    logging.basicConfig(level=options.verbose, format="%(message)s", stream=sys.stderr)
    if ignored:
        log.info("Ignored options: %s", " ".join(ignored))
    try:
        asyncio.run(_serve(options))
    except OSError as error:
        log.error("Cannot listen on %s port %s: %s", options.listen, options.port, error)
        return 1
    return 0


async def _serve(options: argparse.Namespace) -> None:
    folders = Folders.under(
        Path(options.base_directory),
        input_directory=options.input_directory,
        output_directory=options.output_directory,
        temp_directory=options.temp_directory,
    )
    server = ComfyServer(
        ServerOptions(folders, options.test_nodes, options.strict_prompt_ids, argv=tuple(sys.argv)),
        Journal(keep=False),
        Faults(),
        lambda signal_number: os.kill(os.getpid(), signal_number),
    )
    ended = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        # Not on Windows, where Ctrl-C raises KeyboardInterrupt instead.
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(name, ended.set)
    port = await server.start(options.listen, options.port)
    log.info("Embedded ComfyUI server (CPU, no models) in %s", folders.output.parent)
    log.info("Listening on http://%s:%s", options.listen, port)
    try:
        await ended.wait()
    finally:
        log.info("Stopping")
        await server.stop()
