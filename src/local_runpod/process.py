"""One child process with a process group of its own, whose output lines carry its name."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

_LONGEST_LINE = 64 * 1024


class Console:
    """Writes whole lines, each with the name of the process it comes from, to standard error."""

    def __init__(self, names: Sequence[str]) -> None:
        self._width = max(map(len, names), default=0)

    def line(self, name: str, text: str) -> None:
        with suppress(BrokenPipeError):
            sys.stderr.write(f"{name:<{self._width}} | {text}\n")
            sys.stderr.flush()


class ChildProcess:
    """A started command. Its group holds what it starts itself, such as the SDK's heartbeat process."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, output: int, console: Console) -> None:
        self.name = name
        self._process = process
        self._output = output
        self._console = console
        self._partial = b""
        self._loop = asyncio.get_running_loop()
        os.set_blocking(output, False)
        self._loop.add_reader(output, self._read)

    @classmethod
    async def start(
        cls,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        console: Console,
        pass_fds: Sequence[int] = (),
    ) -> ChildProcess:
        """Start a command. Raises OSError when it cannot be started.

        The pipe is made here rather than by asyncio: a grandchild that lives on keeps it open, and waiting for the
        child must not depend on that.
        """
        reader, writer = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writer,
                stderr=writer,
                env=dict(environment),
                start_new_session=True,
                pass_fds=tuple(pass_fds),
            )
        except OSError:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        return cls(name, process, reader, console)

    async def wait(self) -> int:
        return await self._process.wait()

    def terminate(self) -> None:
        """Ask the process itself to end. Its children are left alone: a worker finishes its job with their help."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    async def end_group(self) -> None:
        """Kill whatever is left of the group, the process itself too, and pass on its last words."""
        if self._output < 0:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        self._read()
        self._close()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._output, 65536)
            except BlockingIOError:
                return
            *lines, self._partial = (self._partial + data).split(b"\n")
            if not data or len(self._partial) > _LONGEST_LINE:
                lines.append(self._partial)
                self._partial = b""
            for line in lines:
                if line.strip():
                    self._console.line(self.name, line.decode("utf-8", "replace").rstrip())
            if not data:
                self._loop.remove_reader(self._output)
                return

    def _close(self) -> None:
        if self._output >= 0:
            self._loop.remove_reader(self._output)
            os.close(self._output)
            self._output = -1


async def end(processes: Sequence[ChildProcess], grace: float | None, killed: asyncio.Event) -> None:
    """Let processes that were asked to end do so, for `grace` seconds or until `killed`, then kill their groups."""
    if not processes:
        return
    leaving = asyncio.ensure_future(asyncio.gather(*(process.wait() for process in processes)))
    impatient = asyncio.ensure_future(killed.wait())
    either: list[asyncio.Future[Any]] = [leaving, impatient]
    await asyncio.wait(either, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
    impatient.cancel()
    await asyncio.gather(*(process.end_group() for process in processes))
    await leaving
