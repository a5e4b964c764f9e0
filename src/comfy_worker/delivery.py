"""One job's outputs on their way out: each is fetched and stored as soon as ComfyUI names it, while later nodes run."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import PurePosixPath
from typing import IO, Any

from comfy_worker import outputs
from comfy_worker.comfyui.client import ComfyUIClient
from comfy_worker.comfyui.folders import Folders
from comfy_worker.errors import ComfyUIUnavailable, OutputUnavailable, ResultTooLarge, WorkerError
from comfy_worker.execution import NodeOutput, PictureOutput
from comfy_worker.job import Job
from comfy_worker.outputs import OutputFile, OutputText
from comfy_worker.response import MIB
from comfy_worker.storage import InlineStorage, Storage

TRIES = 3
#: JSON around the data of one file.
ENTRY_BYTES = 1024


class OutputSource:
    """Reads what ComfyUI made: from disk when its folders are known here, else through /view."""

    def __init__(self, client: ComfyUIClient, folders: Folders | None) -> None:
        self._client = client
        self._folders = folders

    @contextmanager
    def open(self, file: OutputFile) -> Iterator[tuple[IO[bytes], int | None]]:
        """(stream, size in bytes or None). Raises OutputUnavailable, ComfyUIUnavailable."""
        path = self._folders.find(file.folder, file.subfolder, file.filename) if self._folders else None
        if path is None:
            with self._client.view(file.filename, file.subfolder, file.folder) as opened:
                yield opened
        else:
            try:
                stream = path.open("rb")
            except OSError as error:
                raise OutputUnavailable(f"it cannot be read: {type(error).__name__}") from error
            with stream:
                yield stream, os.fstat(stream.fileno()).st_size


class Delivery:
    """`take` outputs as they come, `finish` once, then `collect`. Not for use by several threads."""

    def __init__(
        self,
        job_folder: str,
        job: Job,
        source: OutputSource,
        storage: Storage,
        limit: int,
        transfers: Executor,
    ) -> None:
        self._key_root = re.sub(r"[^A-Za-z0-9._-]", "_", job.id).lstrip(".") or "job"
        self._job_folder = job_folder
        self._node_order = {node_id: index for index, node_id in enumerate(job.workflow)}
        self._source = source
        self._storage = storage
        self._limit = limit
        self._transfers = transfers
        #: By their place: some nodes name one file under two keys.
        self._seen: dict[tuple[str, str, str], OutputFile] = {}
        self._told: dict[str, list[Mapping[str, Any]]] = {}
        self._texts: list[OutputText] = []
        self._previews: list[OutputFile] = []
        self._under_way: list[tuple[OutputFile, Future[dict[str, Any]]]] = []
        self._keys: set[str] = set()
        self._inline_bytes = 0
        #: What each file has of these, by its key.
        self._reserved: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def files(self) -> list[OutputFile]:
        """Every file that ComfyUI named, wanted or not."""
        return list(self._seen.values())

    def take(self, output: NodeOutput | PictureOutput) -> None:
        """Start delivering. The same output again (the history repeats what events told) changes nothing."""
        if isinstance(output, PictureOutput):
            suffix = ".png" if output.media_type == "image/png" else ".jpg"
            file = OutputFile(output.node_id, f"websocket_{output.number:05}_{suffix}", "", "output")
            self._start(file, output.content)
            return
        told = self._told.setdefault(output.node_id, [])
        if output.output in told:
            return
        told.append(output.output)
        for item in outputs.parse_output(output.node_id, output.output):
            if isinstance(item, OutputText):
                self._texts.append(item)
                continue
            place = (item.folder, item.subfolder, item.filename)
            if place in self._seen:
                continue
            self._seen[place] = item
            if item.folder == "temp":
                self._previews.append(item)
            else:
                self._start(item)

    def finish(self) -> None:
        """The run succeeded: previews go out if the workflow made nothing else."""
        if not self._under_way:
            for file in self._previews:
                self._start(file)

    def collect(self) -> tuple[dict[str, list[Any]], list[WorkerError]]:
        """Wait for everything under way. -> (response fields in the workflow's order, what failed)."""
        fields: dict[str, list[Any]] = {name: [] for name in outputs.FILE_FIELDS}
        failures: list[WorkerError] = []
        for file, future in sorted(self._under_way, key=lambda pair: self._position(pair[0].node_id)):
            try:
                fields[file.field].append(future.result())
            except WorkerError as error:
                failures.append(error)
        texts = sorted(self._texts, key=lambda text: self._position(text.node_id))
        fields["text"] = [{"node_id": text.node_id, "text": text.text} for text in texts]
        return fields, failures

    def _position(self, node_id: str) -> int:
        """Nodes that ComfyUI made at run time ("5.0.1", "5:1") stand where their parent stands."""
        parent = re.split(r"[.:]", node_id, maxsplit=1)[0]
        return self._node_order.get(node_id, self._node_order.get(parent, len(self._node_order)))

    def _start(self, file: OutputFile, content: bytes | None = None) -> None:
        key = self._key(file)
        self._under_way.append((file, self._transfers.submit(self._deliver, file, key, content)))

    def _deliver(self, file: OutputFile, key: str, content: bytes | None) -> dict[str, Any]:
        for _ in range(TRIES - 1):
            # A connection may break half-way; the file itself is still there.
            with suppress(OutputUnavailable, ComfyUIUnavailable):
                return self._store(file, key, content)
        try:
            return self._store(file, key, content)
        except (OutputUnavailable, ComfyUIUnavailable) as error:
            raise OutputUnavailable(f"'{file.filename}' of node {file.node_id}: {error.message}") from error

    def _store(self, file: OutputFile, key: str, content: bytes | None) -> dict[str, Any]:
        if content is None:
            with self._source.open(file) as (stream, size):
                stored = self._stored(file, key, stream, size)
        else:
            stored = self._stored(file, key, BytesIO(content), len(content))
        return {
            "filename": file.filename,
            "type": stored.type,
            "data": stored.data,
            "node_id": file.node_id,
            "subfolder": outputs.own_subfolder(file.subfolder, self._job_folder),
            "media_type": file.media_type,
            "size": stored.size,
        }

    def _stored(self, file: OutputFile, key: str, stream: IO[bytes], size: int | None) -> Any:
        if isinstance(self._storage, InlineStorage) and size is not None:
            self._reserve(file, key, size)
        return self._storage.store(key, file.media_type, stream, size)

    def _reserve(self, file: OutputFile, key: str, size: int) -> None:
        """Nothing is read that the response cannot carry: RunPod would drop all of it. Raises ResultTooLarge."""
        needed = (size + 2) // 3 * 4 + ENTRY_BYTES
        with self._lock:
            # Once, however often it is tried.
            self._inline_bytes -= self._reserved.pop(key, 0)
            if self._inline_bytes + needed > self._limit:
                raise ResultTooLarge(f"'{file.filename}' of node {file.node_id} ({size / MIB:.1f} MiB)")
            self._inline_bytes += needed
            self._reserved[key] = needed

    def _key(self, file: OutputFile) -> str:
        """`<job>/<subfolder>/<filename>`, unique within the job and without any step upwards."""
        subfolder = outputs.own_subfolder(file.subfolder, self._job_folder)
        parts = [self._key_root, *subfolder.split("/"), *file.filename.replace("\\", "/").split("/")]
        path = PurePosixPath(*(part for part in parts if part not in ("", ".", "..")))
        number = 1
        while str(path) in self._keys:
            number += 1
            path = path.with_name(f"{path.stem}_{number}{path.suffix}")
        self._keys.add(str(path))
        return str(path)
