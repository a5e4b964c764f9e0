"""Where output files go: into the response as base64, or to an S3 bucket. The one door to boto3.

Both read from a stream and keep no second copy of the file. One S3 client per bucket and process.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BufferedReader, FileIO
from typing import IO, Any, Protocol
from urllib.parse import quote

from comfy_worker.bucket import Bucket
from comfy_worker.errors import OutputUnavailable, StorageFailed

#: A multiple of 3, so that chunks can be encoded one by one.
CHUNK = 3 * 256 * 1024
#: Smaller files go in one request; others in parts of this size.
PART = 6 * 1024 * 1024
#: Parts of one file that are sent side by side. One more is being read: about 45 MB for a file of any size.
PARTS_AT_ONCE = 4
#: Connections kept for all files of all jobs that move side by side.
CONNECTIONS = 32
#: Clients kept; every request may bring a bucket of its own.
MOST_BUCKETS = 8


@dataclass(frozen=True)
class Stored:
    """How the response names a stored file: `type` is "base64" or "s3_url"."""

    type: str
    data: str
    size: int


class Storage(Protocol):
    def store(self, key: str, media_type: str, stream: IO[bytes], size: int | None) -> Stored:
        """Take the whole stream; `size` in bytes if known, and then checked. `key` is `<job>/<subfolder>/<name>`.

        Raises StorageFailed, and OutputUnavailable when the stream ends early.
        """


class _Source:
    """The stream to store. Its reads are full except at the end, since S3 takes a short one for the end; and an end
    before `size` is an error, since a broken connection looks like one.
    """

    def __init__(self, stream: IO[bytes], key: str, size: int | None) -> None:
        self._stream = stream
        self._name = key.rpartition("/")[2]
        self._size = size
        self.count = 0

    def read(self, amount: int = -1) -> bytes:
        """`amount` bytes, all that is left if negative. Raises OutputUnavailable."""
        chunks = []
        missing = amount
        while missing and (chunk := self._read_some(CHUNK if amount < 0 else missing)):
            chunks.append(chunk)
            missing -= len(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _read_some(self, amount: int) -> bytes:
        try:
            chunk = self._stream.read(amount)
        except Exception as error:
            # urllib3's and the file system's errors alike: the source broke, not the bucket.
            raise OutputUnavailable(
                f"reading '{self._name}' broke off after {self.count} bytes: {type(error).__name__}"
            ) from error
        self.count += len(chunk)
        if not chunk and self._size is not None and self.count != self._size:
            raise OutputUnavailable(f"ComfyUI sent {self.count} of {self._size} bytes of '{self._name}'")
        return chunk


class InlineStorage:
    """Base64 in the response itself."""

    def store(self, key: str, media_type: str, stream: IO[bytes], size: int | None) -> Stored:
        source = _Source(stream, key, size)
        parts = []
        while chunk := source.read(CHUNK):
            parts.append(base64.b64encode(chunk).decode())
        return Stored("base64", "".join(parts), source.count)


class S3Storage:
    """An S3 bucket; files are answered as presigned GET URLs, or as public ones."""

    def __init__(self, bucket: Bucket, client: Any = None) -> None:
        self._bucket = bucket
        self._client = client or _client(bucket)
        from boto3.s3.transfer import TransferConfig

        self._transfer = TransferConfig(
            multipart_threshold=PART,
            multipart_chunksize=PART,
            max_concurrency=PARTS_AT_ONCE,
            # Not the faster client that boto3 picks where it finds one: it knows none of our settings.
            preferred_transfer_client="classic",
        )
        # Parts that wait their turn are in memory, and boto3 would let 10 wait; it has no argument for this.
        self._transfer.max_in_memory_upload_chunks = PARTS_AT_ONCE

    def store(self, key: str, media_type: str, stream: IO[bytes], size: int | None) -> Stored:
        source = _Source(stream, key, size)
        full_key = f"{self._bucket.key_prefix}/{key}".lstrip("/")
        try:
            if isinstance(stream, FileIO | BufferedReader) and isinstance(stream.name, str):
                # boto3 sends a file piece by piece, and holds the parts of any other stream in memory.
                upload = partial(self._client.upload_file, stream.name)
            else:
                # A source that breaks off raises before the object is made, or has its parts taken back.
                upload = partial(self._client.upload_fileobj, source)
            upload(self._bucket.name, full_key, ExtraArgs={"ContentType": media_type}, Config=self._transfer)
            return Stored("s3_url", self._url(full_key), source.count or size or 0)
        except OutputUnavailable:
            raise
        except Exception as error:
            raise StorageFailed(self._explain(key, error)) from error

    def _url(self, key: str) -> str:
        if self._bucket.public_url:
            return f"{self._bucket.public_url}/{quote(key)}"
        url: str = self._client.generate_presigned_url(
            "get_object", Params={"Bucket": self._bucket.name, "Key": key}, ExpiresIn=self._bucket.url_expires_s
        )
        return url

    def _explain(self, key: str, error: Exception) -> str:
        """What the bucket said, without keys: botocore's texts carry the endpoint and the error code only."""
        from boto3.exceptions import S3UploadFailedError

        # Around botocore's text it puts the file's whole path.
        text = str(error.__context__ or error) if isinstance(error, S3UploadFailedError) else str(error)
        for secret in (self._bucket.secret_access_key, self._bucket.access_key_id):
            text = text.replace(secret, "***")
        name = key.rpartition("/")[2]
        return (
            f"'{name}' could not be stored in bucket '{self._bucket.name}' at {self._bucket.endpoint_url}: {text[:300]}"
            ". Check the BUCKET_* settings (or s3Config) and the key's permission to write"
        )


def _client(bucket: Bucket) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=bucket.endpoint_url,
        region_name=bucket.region,
        aws_access_key_id=bucket.access_key_id,
        aws_secret_access_key=bucket.secret_access_key,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "virtual" if bucket.virtual_host_style else "path"},
            # boto3 >= 1.36 adds checksums by default that R2, GCS and others refuse.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"mode": "standard", "max_attempts": 4},
            connect_timeout=10,
            read_timeout=60,
            max_pool_connections=CONNECTIONS,
        ),
    )


class Storages:
    """The storage of each job: the request's own bucket, else the worker's, else the response itself."""

    def __init__(self, bucket: Bucket | None, open_bucket: Callable[[Bucket], Storage] = S3Storage) -> None:
        self._open_bucket = open_bucket
        self._default = bucket
        self._inline = InlineStorage()
        self._opened: dict[Bucket, Storage] = {}
        self._lock = threading.Lock()

    def for_bucket(self, own: Bucket | None) -> Storage:
        bucket = own or self._default
        if bucket is None:
            return self._inline
        with self._lock:
            opened = self._opened.pop(bucket, None) or self._open_bucket(bucket)
            self._opened[bucket] = opened
            if len(self._opened) > MOST_BUCKETS:
                # The one whose last use is longest ago.
                del self._opened[next(iter(self._opened))]
            return opened
