"""Downloads of models: resumed, checked, and without the token going astray."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from comfy_image import fetch
from comfy_image.fetch import FetchFailed, ModelFile, manifest_problems, read_manifest

CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class ModelServer(ThreadingHTTPServer):
    """Serves CONTENT at any path, and has the faults of real ones."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        #: (path, value of Range, value of Authorization) of each request.
        self.requests: list[tuple[str, str | None, str | None]] = []
        #: Break off after so many bytes, once for each entry.
        self.breaks: list[int] = []
        self.ranges = True
        self.status = 200
        self.redirect: str | None = None

    def url(self, path: str = "/model.safetensors") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.requests.append((self.path, wanted, self.headers.get("Authorization")))
        if self.server.redirect and self.path == "/start":
            self.send_response(302)
            self.send_header("Location", self.server.redirect)
            self.end_headers()
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        status = self.server.status if self.server.status != 200 else 206 if start else 200
        content = CONTENT[start:] if status < 300 else b""
        if start >= len(CONTENT):
            status, content = 416, b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.server.breaks.pop(0)] if self.server.breaks else content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ModelServer]:
    server = ModelServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "PAUSE_S", 0)
    monkeypatch.delenv("HF_TOKEN", raising=False)


def bring(server: ModelServer, folder: Path, sha256: str | None = SHA256, token: str | None = None) -> Path:
    file = ModelFile("checkpoints", "model.safetensors", server.url(), sha256)
    fetch.fetch(file, folder / "models", folder / "partial", token)
    return folder / "models/checkpoints/model.safetensors"


def test_a_file_is_put_into_its_folder_and_checked(
    server: ModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bring(server, tmp_path).read_bytes() == CONTENT
    assert "checkpoints/model.safetensors: checked" in capsys.readouterr().out
    assert not list((tmp_path / "partial").iterdir())


def test_a_file_without_checksum_is_called_unchecked_with_the_sum_it_has(
    server: ModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bring(server, tmp_path, sha256=None)
    assert f"unchecked (sha256 {SHA256})" in capsys.readouterr().out


def test_a_download_goes_on_after_each_break(server: ModelServer, tmp_path: Path) -> None:
    server.breaks = [1000, 500_000]
    assert bring(server, tmp_path).read_bytes() == CONTENT
    assert [wanted for _, wanted, _ in server.requests] == [None, "bytes=1000-", "bytes=501000-"]


def test_a_build_that_was_cut_off_goes_on_in_the_next_one(server: ModelServer, tmp_path: Path) -> None:
    server.status = 503
    server.breaks = []
    with pytest.raises(FetchFailed, match="HTTP 503, 5 times"):
        bring(server, tmp_path)
    server.status = 200
    server.breaks = [3000]
    assert bring(server, tmp_path).read_bytes() == CONTENT


def test_a_server_that_cannot_resume_is_read_from_the_start(server: ModelServer, tmp_path: Path) -> None:
    server.breaks = [1000]
    server.ranges = False
    assert bring(server, tmp_path).read_bytes() == CONTENT


def test_a_wrong_checksum_fails_and_leaves_nothing(server: ModelServer, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match=f"sha256 is {SHA256}, not 0000"):
        bring(server, tmp_path, sha256="0" * 64)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_without_a_checksum_the_size_has_to_fit(server: ModelServer, tmp_path: Path) -> None:
    page = ModelFile("loras", "x.safetensors", server.url(), size=len(CONTENT) + 1)
    for _ in range(2):
        with pytest.raises(FetchFailed, match=f"size is {len(CONTENT)}, not {len(CONTENT) + 1} bytes"):
            fetch.fetch(page, tmp_path / "models", tmp_path / "partial", None)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_file_that_is_there_is_not_fetched_again(server: ModelServer, tmp_path: Path) -> None:
    bring(server, tmp_path)
    bring(server, tmp_path)
    assert len(server.requests) == 1


def test_a_gated_model_says_what_to_do(server: ModelServer, tmp_path: Path) -> None:
    server.status = 401
    with pytest.raises(FetchFailed, match=r"accept the model's licence .*hf_token"):
        bring(server, tmp_path)
    assert len(server.requests) == 1


def test_the_token_goes_to_hugging_face_alone(
    server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(server, tmp_path / "elsewhere", token="secret")
    monkeypatch.setattr(fetch, "TOKEN_HOST", "127.0.0.1")
    server.redirect = server.url("/storage").replace("127.0.0.1", "localhost")
    fetch.fetch(ModelFile("vae", "x.safetensors", server.url("/start"), SHA256), tmp_path, tmp_path, "secret")
    assert [(path, token) for path, _, token in server.requests] == [
        ("/model.safetensors", None),
        ("/start", "Bearer secret"),
        ("/storage", None),
    ]


def test_the_command_fetches_what_a_manifest_lists(server: ModelServer, tmp_path: Path) -> None:
    manifest = {"about": "a test", "files": [{"folder": "loras", "url": server.url("/a.safetensors?x=1")}]}
    (tmp_path / "small.json").write_text(json.dumps(manifest))
    assert fetch.main(["--manifests", str(tmp_path), str(tmp_path / "models"), "small"]) == 0
    assert (tmp_path / "models/loras/a.safetensors").read_bytes() == CONTENT


def test_the_command_names_the_manifests_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sdxl.json").write_text("{}")
    assert fetch.main(["--manifests", str(tmp_path), str(tmp_path / "models"), "sdlx"]) == 1
    assert "there is no manifest sdlx; there are sdxl" in capsys.readouterr().err


def test_a_wrong_manifest_names_every_fault(tmp_path: Path) -> None:
    entry = {"folder": "../x", "url": "ftp://x", "sha256": "abc", "size": "big", "token": "x"}
    (tmp_path / "bad.json").write_text(json.dumps({"files": [entry]}))
    with pytest.raises(FetchFailed) as failure:
        read_manifest(tmp_path / "bad.json")
    for fault in ("about:", "folder: '../x'", "url: 'ftp://x'", "sha256: 'abc'", "size: 'big'", "token: no such"):
        assert fault in str(failure.value)


def test_a_manifest_without_files_is_none() -> None:
    assert list(manifest_problems({"about": "x", "files": []}))
