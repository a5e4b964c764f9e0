"""Input files in ComfyUI's input folder: handed over side by side, shared by jobs of the same content, removed when the
last of these jobs is over."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace

from comfy_worker import workflow
from comfy_worker.comfyui.client import ComfyUIClient
from comfy_worker.comfyui.folders import Folders
from comfy_worker.errors import ComfyUIUnavailable, InputUploadFailed
from comfy_worker.inputs import InputFile
from comfy_worker.job import Job
from comfy_worker.tracking import raise_if_cancelled

#: Between two looks whether a job that waits for its place was cancelled.
LOOK_S = 0.5


@dataclass(frozen=True)
class Places:
    """Where a job's input files lie: the first part of their names."""

    #: Files that keep their names, and the folders of such: a node may read a folder whole.
    alone: frozenset[str]
    #: Folders of files that go by their content.
    shared: frozenset[str]

    @classmethod
    def of(cls, job: Job) -> Places:
        names = [entry.name for entry in job.images]
        kept = {name for name in names if not workflow.referenced(job.workflow, name)}
        folders = {name for name in names if "/" in name} - kept
        return cls(*(frozenset(name.partition("/")[0] for name in found) for found in (kept, folders)))


class Staging:
    def __init__(self, client: ComfyUIClient, folders: Folders | None, transfers: Executor) -> None:
        self._client = client
        self._folders = folders
        self._transfers = transfers
        self._users: Counter[str] = Counter()
        self._alone: set[str] = set()
        self._shared: Counter[str] = Counter()
        self._lock = threading.Condition()

    def claim(self, places: Places, stop: threading.Event) -> None:
        """Wait until no other job has files in these places; they are this job's until `release`. Raises Cancelled."""
        with self._lock:
            while not (
                self._alone.isdisjoint(places.alone | places.shared) and places.alone.isdisjoint(self._shared.keys())
            ):
                raise_if_cancelled(stop)
                self._lock.wait(LOOK_S)
            self._alone |= places.alone
            self._shared.update(places.shared)

    def upload(self, files: Iterable[InputFile | str], staged: dict[str, str]) -> None:
        """Upload each file as soon as there is one, and note in `staged` under which name; they stay until `release`.

        A text in place of a file says what is wrong with it. Raises InputUploadFailed, with every failed file in
        `details`.
        """
        uploads: list[Future[str | None]] = []
        problems: list[str] = []
        for file in files:
            if isinstance(file, str):
                problems.append(file)
                continue
            with self._lock:
                self._users[file.staged_name] += 1
            staged[file.name] = file.staged_name
            uploads.append(self._transfers.submit(self._upload, file))
        problems += [problem for upload in uploads if (problem := upload.result())]
        if problems:
            raise InputUploadFailed(problems)

    def release(self, staged_names: Iterable[str], places: Places) -> None:
        """Counterpart of `claim` and `upload`, to be called also when the latter failed."""
        with self._lock:
            for name in staged_names:
                self._users[name] -= 1
                if self._users[name] <= 0:
                    del self._users[name]
                    self._remove(name)
            self._alone -= places.alone
            self._shared -= Counter(places.shared)
            self._lock.notify_all()

    def _upload(self, file: InputFile) -> str | None:
        """-> what went wrong, or None."""
        try:
            self._client.upload(file.staged_name, file.content, file.media_type)
        except ComfyUIUnavailable as error:
            return f"{file.label}: {error.details[0] if error.details else error.message}"
        except ValueError as error:
            return f"{file.label}: {error}"
        return None

    def _remove(self, staged_name: str) -> None:
        if self._folders is not None:
            subfolder, _, filename = staged_name.rpartition("/")
            self._folders.remove("input", subfolder, filename)


def placed(file: InputFile | str, job: Job) -> InputFile | str:
    """A file that no node names as such (a node may read its folder) keeps the name it was given."""
    if isinstance(file, str) or workflow.referenced(job.workflow, file.name):
        return file
    return replace(file, staged_name=file.name)
