"""Log lines for operators: one per step, with the job and prompt it belongs to, and never a secret.

Plain text on stderr: `INFO job=<id> prompt=<id> <what>`. RunPod collects the container's output as it is.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    # Not subscriptable at run time before Python 3.11.
    _Adapter = logging.LoggerAdapter

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
ROOT = "comfy_worker"
#: Characters of a line: an error may carry a whole text of its node.
LONGEST_LINE = 2000


class _Redacted(logging.Formatter):
    """Formats a record, traceback included, and masks the configured secrets wherever they appear."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")
        # Longest first: a secret may be the beginning of another.
        self._secrets = sorted({secret for secret in secrets if secret}, key=len, reverse=True)

    def formatMessage(self, record: logging.LogRecord) -> str:
        # What clients and nodes named must not look like a line of its own. A traceback is added after this.
        record.message = _on_one_line(self._masked(record.message))
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        return self._masked(super().format(record))

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def _on_one_line(text: str) -> str:
    shown = text if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]}... ({len(text)} characters)"
    return (
        shown if shown.isprintable() else "".join(char if char.isprintable() else ascii(char)[1:-1] for char in shown)
    )


class JobLog(_Adapter):
    """The log of one job: each line starts with its id, and with the prompt's once there is one."""

    def __init__(self, job_id: str, prompt_id: str = "") -> None:
        super().__init__(logging.getLogger(ROOT), {})
        self.prefix = f"job={job_id}" + (f" prompt={prompt_id}" if prompt_id else "")

    @contextmanager
    def step(self, text: str, *args: object) -> Iterator[None]:
        """One line when the step is done, with the seconds it took; none when it failed: the error says more."""
        started = time.monotonic()
        yield
        self.info(text + " (%.2f s)", *args, time.monotonic() - started)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return f"{self.prefix.replace('%', '%%')} {msg}", kwargs


def configure(level: str, secrets: Iterable[str] = ()) -> logging.Logger:
    """Send the worker's log to stderr at `level` (one of LEVELS), without `secrets`."""
    logger = logging.getLogger(ROOT)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Redacted(secrets))
    logger.handlers = [handler]
    logger.setLevel(level)
    logger.propagate = False
    return logger
