"""`python -m local_runpod`: the endpoint alone, or with workers (`serve`), or with workers for one job (`once`)."""

from __future__ import annotations

import os
import socket
import sys

from .command_line import Options, parse_arguments
from .listener import listening_socket
from .settings import Settings, SettingsError


def main(arguments: list[str]) -> int:
    options = parse_arguments(arguments)
    try:
        settings = Settings.from_env({**os.environ, **options.environment()})
    except SettingsError as error:
        sys.stderr.write(f"local_runpod: {error}\n")
        return 2
    if options.fd is not None:
        listener = socket.socket(fileno=options.fd)
    else:
        try:
            listener = listening_socket(settings.host, settings.port)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            sys.stderr.write(f"local_runpod: cannot listen on {settings.host}:{settings.port}: {reason}\n")
            return 1
    with listener:
        return _run(settings, options, listener)


def _run(settings: Settings, options: Options, listener: socket.socket) -> int:
    """Each command imports what it needs: the supervisor starts its processes before a web framework is loaded."""
    if options.command == "endpoint":
        from .server import run

        if options.fd is None:
            host, port = listener.getsockname()[:2]
            sys.stderr.write(f"RunPod endpoint `{settings.endpoint_id}` on http://{host}:{port} (docs: /docs)\n")
        run(settings, listener)
        return 0
    from .stack import Plan, Stack

    plan = Plan(options.worker, settings.workers or 1, options.comfyui, options.ready_timeout)
    stack = Stack(plan, settings, listener)
    if options.command == "once":
        from .once import once

        return once(stack, options.request, options.output)
    from .serve import serve

    return serve(settings, stack)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:  # before anything was started
        sys.exit(130)
