"""Files on their way out: to a real S3 server over HTTP (moto's), to a scripted one that writes down what it was asked,
and into the response."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import IO, Any, cast

import boto3
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer
from tcp_server import Connection, Request, StartServer, answering, free_port

from comfy_worker.bucket import Bucket
from comfy_worker.errors import OutputUnavailable, StorageFailed
from comfy_worker.storage import PART, InlineStorage, S3Storage, Storages, Stored

SECRET = "s3cret/Key+with=signs"
MIB = 1024 * 1024


class Stream:
    """A source as the network gives it: not seekable, and each read hands out as much as it likes."""

    def __init__(self, content: bytes, sizes: tuple[int, ...] = (65536,), breaks_at: int | None = None) -> None:
        self._content = content
        self._sizes = sizes
        self._breaks_at = breaks_at
        self._position = 0
        self._reads = 0

    def read(self, amount: int = -1) -> bytes:
        if self._breaks_at is not None and self._position >= self._breaks_at:
            raise ConnectionResetError("reset by token=s3cret")
        size = self._sizes[self._reads % len(self._sizes)]
        self._reads += 1
        chunk = self._content[self._position : self._position + (min(size, amount) if amount >= 0 else size)]
        self._position += len(chunk)
        return chunk


def stream(content: bytes, *sizes: int, breaks_at: int | None = None) -> IO[bytes]:
    return cast(IO[bytes], Stream(content, sizes or (65536,), breaks_at))


# --- a real S3 server


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def s3(endpoint: str) -> Any:
    """The bucket's owner, who looks what is in it."""
    keys = {"aws_access_key_id": "owner", "aws_secret_access_key": "owner", "region_name": "us-east-1"}
    return boto3.client("s3", endpoint_url=endpoint, **keys)


@pytest.fixture
def bucket(endpoint: str, s3: Any) -> Bucket:
    name = f"bucket-{uuid.uuid4()}"
    s3.create_bucket(Bucket=name)
    return Bucket(
        endpoint_url=endpoint, name=name, region="us-east-1", access_key_id="AKIDEXAMPLE", secret_access_key=SECRET
    )


def fetch(stored: Stored) -> requests.Response:
    assert stored.type == "s3_url"
    return requests.get(stored.data, timeout=20)


def keys_in(s3: Any, bucket: Bucket) -> list[str]:
    return [item["Key"] for item in s3.list_objects_v2(Bucket=bucket.name).get("Contents", [])]


@pytest.mark.parametrize("content", [b"", b"\x89PNG one picture"])
def test_a_small_file_is_behind_the_url_it_is_answered_with(bucket: Bucket, s3: Any, content: bytes) -> None:
    stored = S3Storage(bucket).store("job-1/a_00001_.png", "image/png", stream(content), len(content))
    answer = fetch(stored)
    assert (answer.status_code, answer.content) == (200, content)
    assert answer.headers["Content-Type"] == "image/png"
    assert stored.size == len(content)
    assert keys_in(s3, bucket) == ["job-1/a_00001_.png"]


@pytest.mark.parametrize(
    ("size", "known"), [(PART - 1, False), (PART, False), (PART, True), (PART + 1, True), (20_000_003, True)]
)
def test_a_large_file_is_stored_in_parts_from_a_stream_that_hands_out_odd_pieces(
    bucket: Bucket, size: int, known: bool
) -> None:
    content = os.urandom(size)
    source = stream(content, 1, 70_001, 999_983, 3)
    stored = S3Storage(bucket).store("job/video.mp4", "video/mp4", source, size if known else None)
    answer = fetch(stored)
    assert answer.content == content
    assert answer.headers["Content-Type"] == "video/mp4"
    assert stored.size == size


@pytest.mark.parametrize("name", ["bild ä 日本 😀.png", "a+b=c&d%20#?.png", "quote'\"s.png", "deep/er/file~.png"])
def test_any_name_is_a_key(bucket: Bucket, s3: Any, endpoint: str, name: str) -> None:
    public = replace(bucket, public_url=f"{endpoint}/{bucket.name}")
    for kind in (bucket, public):
        stored = S3Storage(kind).store(f"job/{name}", "image/png", stream(b"content"), 7)
        s3.put_object_acl(Bucket=bucket.name, Key=f"job/{name}", ACL="public-read")
        answer = fetch(stored)
        assert (answer.status_code, answer.content) == (200, b"content")
    assert keys_in(s3, bucket) == [f"job/{name}"]


def test_prefix_and_public_url(bucket: Bucket, s3: Any, endpoint: str) -> None:
    public = replace(bucket, key_prefix="tenants/one", public_url=f"{endpoint}/{bucket.name}")
    stored = S3Storage(public).store("job/x.png", "image/png", stream(b"x"), 1)
    assert stored.data == f"{endpoint}/{bucket.name}/tenants/one/job/x.png"
    s3.put_object_acl(Bucket=bucket.name, Key="tenants/one/job/x.png", ACL="public-read")
    assert fetch(stored).content == b"x"
    assert keys_in(s3, bucket) == ["tenants/one/job/x.png"]


def test_a_presigned_url_lives_as_long_as_configured(bucket: Bucket) -> None:
    stored = S3Storage(replace(bucket, url_expires_s=1234)).store("job/x.png", "image/png", stream(b"x"), 1)
    assert stored.data.startswith(f"{bucket.endpoint_url}/{bucket.name}/job/x.png?")
    assert "X-Amz-Expires=1234" in stored.data
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in stored.data


def test_several_files_side_by_side(bucket: Bucket, s3: Any) -> None:
    storage = S3Storage(bucket)
    contents = [os.urandom(size) for size in (0, 10, 300_000, PART + 5, 50, PART, 1_000_000, 7)]

    def store(number: int) -> Stored:
        content = contents[number]
        return storage.store(f"job/{number}", "image/png", stream(content, 99_991), len(content))

    with ThreadPoolExecutor(8) as threads:
        stored = list(threads.map(store, range(len(contents))))
    assert [fetch(one).content for one in stored] == contents
    assert len(keys_in(s3, bucket)) == len(contents)


@pytest.mark.parametrize("size", [1_000_000, 2 * PART + 1_000_000])
@pytest.mark.parametrize(
    ("source", "text"),
    [
        pytest.param(
            lambda content: stream(content, breaks_at=len(content) // 2), "reading 'x.png' broke off after", id="breaks"
        ),
        pytest.param(lambda content: stream(content[:-1]), "bytes of 'x.png'", id="one byte short"),
        pytest.param(lambda content: stream(content + b"!"), "bytes of 'x.png'", id="one byte over"),
    ],
)
def test_a_source_that_breaks_off_leaves_nothing_in_the_bucket(
    bucket: Bucket, s3: Any, size: int, source: Callable[[bytes], IO[bytes]], text: str
) -> None:
    with pytest.raises(OutputUnavailable, match=text) as caught:
        S3Storage(bucket).store("job/x.png", "image/png", source(os.urandom(size)), size)
    assert "s3cret" not in str(caught.value)
    assert keys_in(s3, bucket) == []
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket.name)


def test_a_source_that_breaks_off_leaves_an_older_file_as_it_was(bucket: Bucket) -> None:
    storage = S3Storage(bucket)
    stored = storage.store("job/x.png", "image/png", stream(b"good"), 4)
    with pytest.raises(OutputUnavailable):
        storage.store("job/x.png", "image/png", stream(b"ba"), 3)
    assert fetch(stored).content == b"good"


@pytest.mark.parametrize("size", [1, 7 * 1024 * 1024])
@pytest.mark.parametrize("kind", ["stream", "file"])
def test_a_bucket_that_does_not_exist(bucket: Bucket, tmp_path: Path, kind: str, size: int) -> None:
    missing, name = replace(bucket, name="no-such-bucket"), "x" * 120 + ".png"
    path = tmp_path / name
    path.write_bytes(bytes(size))
    with path.open("rb") as opened, pytest.raises(StorageFailed) as caught:
        source = opened if kind == "file" else stream(bytes(size))
        S3Storage(missing).store(f"job/{name}", "image/png", source, size)
    text = str(caught.value)
    assert text.startswith(f"'{name}' could not be stored in bucket 'no-such-bucket' at {bucket.endpoint_url}: ")
    assert "NoSuchBucket" in text
    assert str(tmp_path) not in text
    assert text.endswith("Check the BUCKET_* settings (or s3Config) and the key's permission to write")


# --- a scripted S3 server


class Recorder:
    """Takes everything, and remembers it."""

    def __init__(self, bodies: bool = True) -> None:
        self.requests: list[Request] = []
        self._bodies = bodies

    def __call__(self, connection: Connection, request: Request) -> None:
        self.requests.append(request if self._bodies else replace(request, body=b""))
        if request.method == "POST" and request.path.endswith("?uploads"):
            body = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
        elif request.method == "POST":
            body = b'<CompleteMultipartUploadResult><ETag>"e"</ETag></CompleteMultipartUploadResult>'
        else:
            body = b""
        connection.respond(200, body, ETag='"e"')


def bucket_at(endpoint_url: str, name: str = "my-bucket") -> Bucket:
    return Bucket(
        endpoint_url=endpoint_url,
        name=name,
        region="eu-west-1",
        access_key_id="AKIDEXAMPLE",
        secret_access_key=SECRET,
    )


@pytest.mark.parametrize("size", [1000, 2 * PART + 1])
def test_trap_10_no_checksum_that_other_providers_refuse(start_server: StartServer, size: int) -> None:
    recorder = Recorder()
    server = start_server(answering(recorder))
    S3Storage(bucket_at(server.url)).store("job/x.png", "image/png", stream(b"x" * size), size)
    puts = [request for request in recorder.requests if request.method == "PUT"]
    assert sum(len(request.body) for request in puts) == size
    assert len(puts) == (1 if size < PART else 3)
    for request in recorder.requests:
        assert [name for name in request.headers if name.startswith("x-amz-checksum")] == []
        assert "x-amz-sdk-checksum-algorithm" not in request.headers
        assert "x-amz-trailer" not in request.headers
        assert "aws-chunked" not in request.headers.get("content-encoding", "")
        assert not request.headers["x-amz-content-sha256"].startswith("STREAMING")
        assert "checksum" not in request.path


def test_no_part_but_the_last_is_smaller_than_s3_takes(start_server: StartServer) -> None:
    recorder = Recorder()
    server = start_server(answering(recorder))
    source = stream(bytes(3 * PART + 17), 1_000_003, 5)
    S3Storage(bucket_at(server.url)).store("job/x.mp4", "video/mp4", source, None)
    sizes = sorted(len(request.body) for request in recorder.requests if request.method == "PUT")
    assert sizes == [17, PART, PART, PART]
    assert PART >= 5 * MIB


@pytest.mark.parametrize(
    ("endpoint_url", "name", "url"),
    [
        ("http://s3.eu-west-1.amazonaws.com", "my-bucket", "http://my-bucket.s3.eu-west-1.amazonaws.com/job/x.png"),
        ("http://s3.eu-west-1.amazonaws.com", "my.bucket", "http://s3.eu-west-1.amazonaws.com/my.bucket/job/x.png"),
        ("http://abc.r2.cloudflarestorage.com", "my-bucket", "http://abc.r2.cloudflarestorage.com/my-bucket/job/x.png"),
        ("http://minio.invalid:9000", "my-bucket", "http://minio.invalid:9000/my-bucket/job/x.png"),
        ("http://nyc3.digitaloceanspaces.com", "b-1", "http://nyc3.digitaloceanspaces.com/b-1/job/x.png"),
    ],
)
def test_how_the_bucket_is_addressed(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch, endpoint_url: str, name: str, url: str
) -> None:
    recorder = Recorder()
    # A proxy is asked with whole URLs, and for any host.
    monkeypatch.setenv("HTTP_PROXY", start_server(answering(recorder)).url)
    stored = S3Storage(bucket_at(endpoint_url, name)).store("job/x.png", "image/png", stream(b"x"), 1)
    (request,) = recorder.requests
    assert request.path == url
    assert stored.data.partition("?")[0] == url


@pytest.mark.parametrize("status", [403, 400])
def test_a_wrong_key_is_told_without_naming_it(start_server: StartServer, status: int) -> None:
    error = (
        "<Error><Code>SignatureDoesNotMatch</Code><Message>The signature of AKIDEXAMPLE does not match; is it "
        f"{SECRET}?</Message><AWSAccessKeyId>AKIDEXAMPLE</AWSAccessKeyId></Error>"
    ).encode()
    server = start_server(answering(lambda connection, request: connection.respond(status, error)))
    storage = S3Storage(bucket_at(server.url))
    with pytest.raises(StorageFailed) as caught:
        storage.store("job/x.png", "image/png", stream(b"x"), 1)
    text = str(caught.value)
    assert f"bucket 'my-bucket' at {server.url}" in text
    assert "SignatureDoesNotMatch" in text
    assert "BUCKET_*" in text
    assert SECRET not in text
    assert "AKIDEXAMPLE" not in text
    assert SECRET not in repr(bucket_at(server.url))


def test_an_endpoint_where_nothing_listens() -> None:
    bucket = bucket_at(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StorageFailed, match=r"'x\.png' could not be stored in bucket 'my-bucket' at http://127"):
        S3Storage(bucket).store("job/x.png", "image/png", stream(b"x"), 1)


def test_a_part_that_fails_once_is_sent_again(start_server: StartServer) -> None:
    recorder = Recorder()
    failed = threading.Event()

    def answer(connection: Connection, request: Request) -> None:
        if "partNumber=2" in request.path and not failed.is_set():
            failed.set()
            connection.reset()
        else:
            recorder(connection, request)

    server = start_server(answering(answer))
    content = os.urandom(2 * PART + 5)
    S3Storage(bucket_at(server.url)).store("job/x.mp4", "video/mp4", stream(content), len(content))
    parts = {request.path: request.body for request in recorder.requests if request.method == "PUT"}
    assert b"".join(parts[path] for path in sorted(parts)) == content


def test_a_bucket_that_fails_half_way_is_rid_of_the_parts(start_server: StartServer) -> None:
    recorder = Recorder()

    def answer(connection: Connection, request: Request) -> None:
        if "partNumber=2" in request.path:
            connection.respond(403, b"<Error><Code>QuotaExceeded</Code></Error>")
        else:
            recorder(connection, request)

    server = start_server(answering(answer))
    with pytest.raises(StorageFailed, match="QuotaExceeded"):
        S3Storage(bucket_at(server.url)).store("job/x.mp4", "video/mp4", stream(bytes(3 * PART)), 3 * PART)
    assert [request.method for request in recorder.requests].count("DELETE") == 1


MEASURE = """
import resource, sys
from comfy_worker.bucket import Bucket
from comfy_worker.storage import S3Storage

class Source:
    def __init__(self, size):
        self.left = size
    def read(self, amount=-1):
        amount = min(self.left, 262_144, amount if amount >= 0 else self.left)
        self.left -= amount
        return bytes(amount)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

bucket = Bucket(endpoint_url=sys.argv[1], name="b", region="r", access_key_id="k", secret_access_key="s")
storage = S3Storage(bucket)
storage.store("job/warm", "video/mp4", Source(1), 1)
before = peak()
storage.store("job/x.mp4", "video/mp4", Source(100_000_000), 100_000_000)
sys.stdout.write(str(peak() - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count memory in other units")
def test_trap_20_a_large_file_is_never_whole_in_memory(start_server: StartServer) -> None:
    server = start_server(answering(Recorder(bodies=False)))
    grown = int(subprocess.check_output([sys.executable, "-c", MEASURE, server.url], timeout=50))
    # About 45 MB; boto3's own settings take 100.
    assert grown < 64 * MIB


# --- which storage


def test_one_storage_for_each_bucket() -> None:
    opened: list[Bucket] = []

    def open_bucket(bucket: Bucket) -> S3Storage:
        opened.append(bucket)
        return S3Storage(bucket, client=object())

    default = bucket_at("http://s3.invalid")
    storages = Storages(default, open_bucket)
    assert storages.for_bucket(None) is storages.for_bucket(None) is storages.for_bucket(replace(default))
    own = [replace(default, name=f"own-{number}") for number in range(20)]
    for bucket in own:
        assert storages.for_bucket(bucket) is storages.for_bucket(bucket)
        storages.for_bucket(None)
    # Those that are in use stay open.
    assert opened == [default, *own]
    storages.for_bucket(own[0])
    assert opened == [default, *own, own[0]]


def test_without_a_bucket_files_go_into_the_response() -> None:
    assert isinstance(Storages(None).for_bucket(None), InlineStorage)


def test_side_by_side_one_client_is_made(bucket: Bucket) -> None:
    storages = Storages(bucket)
    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(storages.for_bucket, [None] * 16))) == 1


# --- into the response


@given(st.binary(max_size=400), st.lists(st.integers(1, 50), min_size=1, max_size=5), st.booleans())
def test_base64_is_exact_for_any_pieces(content: bytes, sizes: list[int], known: bool) -> None:
    stored = InlineStorage().store("job/x", "image/png", stream(content, *sizes), len(content) if known else None)
    assert stored == Stored("base64", base64.b64encode(content).decode(), len(content))


@pytest.mark.parametrize("size", [786_431, 786_432, 786_433, 3_000_000])
def test_base64_is_exact_beyond_one_chunk(size: int) -> None:
    content = os.urandom(size)
    for source in (BytesIO(content), stream(content, 4099)):
        assert base64.b64decode(InlineStorage().store("x", "x/y", source, size).data, validate=True) == content


def test_trap_20_base64_needs_no_second_copy_of_the_file() -> None:
    size = 12_000_000
    source = BytesIO(bytes(size))
    tracemalloc.start()
    try:
        InlineStorage().store("job/x.png", "image/png", source, size)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The text (4/3) and what it is joined from.
    assert peak < 3 * size


@pytest.mark.parametrize("source", [stream(b"12345"), stream(b"1234567"), stream(b"123456", 2, breaks_at=4)])
def test_a_source_that_breaks_off_is_not_delivered(source: IO[bytes]) -> None:
    with pytest.raises(OutputUnavailable, match=r"'x\.png'"):
        InlineStorage().store("job/x.png", "image/png", source, 6)
