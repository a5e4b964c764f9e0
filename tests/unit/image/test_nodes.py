"""Custom nodes at build time, with real repositories and a real registry, and a ComfyUI that only loads nodes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from comfy_image import install, nodes
from comfy_image.loading import failures
from comfy_image.nodes import parse_name
from comfy_image.snapshot import GitNode, RegistryNode

#: Loads custom nodes and reports them in ComfyUI's words and colours (server log of 0.26.0).
LOADER = """
import importlib.util, os, sys
assert sys.argv[1:] == ["--cpu", "--quick-test-for-ci"]
lines = []
for name in sorted(os.listdir("custom_nodes")):
    path = os.path.abspath(os.path.join("custom_nodes", name))
    file = os.path.join(path, "__init__.py") if os.path.isdir(path) else path
    if not file.endswith(".py"):
        continue
    failed = ""
    try:
        spec = importlib.util.spec_from_file_location("node", file)
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except Exception as error:
        print(f"Cannot import {path} module for custom nodes: {error}")
        failed = " (IMPORT FAILED)"
    lines.append(f"\\x1b[32m[INFO]\\x1b[0m    0.0 seconds{failed}: {path}")
print("Import times for custom nodes:", *lines, sep="\\n")
"""
#: Stands in for pip, which would change the environment of the tests.
PYTHON = """#!/bin/sh
if [ "$1 $2 $3" = "-m pip freeze" ]; then printf 'torch==2.9.1\\nnumpy==2.0\\n'; exit; fi
if [ "$1 $2 $3" = "-m pip install" ]; then
    shift 3
    for argument; do if [ -f "$argument" ]; then cat "$argument"; echo; else echo "$argument"; fi; done >>"{log}"
    ! grep -q no-such-package "{log}" || {{ echo "ERROR: no-such-package"; exit 1; }}
    exit
fi
exec "{python}" "$@"
"""


class Stage:
    """A ComfyUI folder, repositories of nodes, and the command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.comfyui = folder / "comfyui"
        self.pip_log = folder / "pip.log"
        (self.comfyui / "custom_nodes").mkdir(parents=True)
        (self.comfyui / "main.py").write_text(LOADER)
        python = self.comfyui / ".venv/bin/python"
        python.parent.mkdir(parents=True)
        python.write_text(PYTHON.format(log=self.pip_log, python=sys.executable))
        python.chmod(0o755)

    def repository(self, name: str, **files: str) -> tuple[str, str]:
        """A node in git: its URL and its first commit; a later commit does not import."""
        folder = self.folder / "repositories" / name
        folder.mkdir(parents=True)
        git(folder, "init", "--quiet", "--initial-branch=main")
        for file, content in {"__init__": "NODE_CLASS_MAPPINGS = {}", **files}.items():
            (folder / (f"{file}.txt" if file == "requirements" else f"{file}.py")).write_text(content)
        commit(folder)
        first = git(folder, "rev-parse", "HEAD")
        (folder / "__init__.py").write_text("import no_such_module")
        commit(folder)
        return f"file://{folder}", first

    def run(self, *arguments: str) -> int:
        return nodes.main(["--comfyui", str(self.comfyui), *arguments])

    def restore(self, *arguments: str, **snapshot: object) -> int:
        file = self.folder / "snapshot.json"
        file.write_text(json.dumps(snapshot))
        return self.run("--snapshot", str(file), *arguments)

    @property
    def installed(self) -> set[str]:
        return {path.name for path in (self.comfyui / "custom_nodes").iterdir()}


def git(folder: Path, *arguments: str) -> str:
    identity = {
        f"GIT_{role}_{what}": "test@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(
        command, env={**os.environ, **identity}, check=True, capture_output=True, text=True
    ).stdout.strip()


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "change")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Comfy registry that has `some-nodes` in version 1.2.3."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("__init__.py", "NODE_CLASS_MAPPINGS = {}")
        files.writestr("requirements.txt", "einops")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers = {
                "/nodes/some-nodes/install?version=1.2.3": json.dumps({"downloadUrl": f"{base}/some.zip"}).encode(),
                "/some.zip": archive.getvalue(),
                "/nodes/text/install": json.dumps({"downloadUrl": f"{base}/nodes/text/install"}).encode(),
            }
            self.send_response(200 if self.path in answers else 404)
            self.end_headers()
            self.wfile.write(answers.get(self.path, b""))

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    base = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(install, "REGISTRY", base)
    yield
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_node_is_restored_at_its_commit_with_its_packages_and_its_install_script(stage: Stage) -> None:
    script = "import pathlib; pathlib.Path('was_installed').touch()"
    url, first = stage.repository("a-node", requirements="einops\n", install=script)
    assert stage.restore(git_custom_nodes={url: {"hash": first, "disabled": False}}) == 0
    folder = stage.comfyui / "custom_nodes/a-node"
    assert git(folder, "rev-parse", "HEAD") == first
    assert (folder / "was_installed").exists()
    assert "einops" in stage.pip_log.read_text()


def test_torch_is_kept_as_it_is(stage: Stage) -> None:
    url, first = stage.repository("a-node", requirements="einops\n")
    stage.restore(git_custom_nodes={url: {"hash": first}}, pips={"torch==1.0": "", "cowsay==6.1": ""})
    assert stage.pip_log.read_text().splitlines() == [
        *("--constraint", "torch==2.9.1", "--requirement", "einops", ""),
        *("--constraint", "torch==2.9.1", "--no-deps", "--requirement", "cowsay==6.1"),
    ]


def test_a_node_that_does_not_import_ends_it_all_and_is_named(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    good, first = stage.repository("good")
    bad, _ = stage.repository("bad")
    last = git(Path(bad.removeprefix("file://")), "rev-parse", "HEAD")
    assert stage.restore(git_custom_nodes={good: {"hash": first}, bad: {"hash": last}}) == 1
    assert "node bad cannot be imported: No module named 'no_such_module'" in capsys.readouterr().err


def test_a_node_whose_packages_fail_ends_it_all_and_is_named(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    url, first = stage.repository("hungry", requirements="no-such-package\n")
    assert stage.restore(git_custom_nodes={url: {"hash": first}}) == 1
    error = capsys.readouterr().err
    assert f"node {url}@{first} failed" in error
    assert "ERROR: no-such-package" in error


def test_a_commit_that_is_not_there_ends_it_all(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    url, _ = stage.repository("a-node")
    assert stage.restore(git_custom_nodes={url: {"hash": "b" * 40}}) == 1
    assert f"node {url}@{'b' * 40} failed" in capsys.readouterr().err


def test_disabled_nodes_are_left_out(stage: Stage) -> None:
    (stage.comfyui / "custom_nodes/one.py").write_text("")
    url, first = stage.repository("a-node")
    files = [{"filename": "one.py", "disabled": True}]
    assert stage.restore(git_custom_nodes={url: {"hash": first, "disabled": True}}, file_custom_nodes=files) == 0
    assert stage.installed == {"one.py.disabled"}


def test_a_node_comes_from_the_registry(stage: Stage, registry: None) -> None:
    assert stage.restore(cnr_custom_nodes={"some-nodes": "1.2.3"}) == 0
    folder = stage.comfyui / "custom_nodes/some-nodes"
    assert (folder / ".tracking").read_text().splitlines() == ["__init__.py", "requirements.txt"]
    assert "einops" in stage.pip_log.read_text()


@pytest.mark.parametrize(("name", "reason"), [("some-nodes@9.9", "answered 404"), ("text", "is no zip archive")])
def test_what_the_registry_does_not_have_fails(
    stage: Stage, registry: None, capsys: pytest.CaptureFixture[str], name: str, reason: str
) -> None:
    assert stage.run(name) == 1
    assert f"node {parse_name(name)} failed" in (error := capsys.readouterr().err)
    assert reason in error


def test_a_file_node_comes_from_the_folder_of_own_nodes(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    own = stage.folder / "own"
    own.mkdir()
    (own / "one.py").write_text("NODE_CLASS_MAPPINGS = {}")
    assert stage.restore("--own", str(own), file_custom_nodes=[{"filename": "one.py"}]) == 0
    assert stage.installed == {"one.py"}
    assert "all 1 custom nodes are there" in capsys.readouterr().out


def test_a_disabled_file_node_stays_disabled(stage: Stage) -> None:
    own = stage.folder / "own"
    own.mkdir()
    (own / "one.py").write_text("NODE_CLASS_MAPPINGS = {}")
    files = [{"filename": "one.py.disabled", "disabled": True}]
    assert stage.restore("--own", str(own), file_custom_nodes=files) == 0
    assert stage.installed == {"one.py.disabled"}


def test_a_file_node_without_its_file_fails(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage.restore(file_custom_nodes=[{"filename": "one.py"}]) == 1
    assert "node one.py failed: a snapshot has only its name" in capsys.readouterr().err


def test_own_nodes_are_copied_prepared_and_checked(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    own = stage.folder / "own"
    (own / "mine").mkdir(parents=True)
    (own / "mine/__init__.py").write_text("import no_such_module")
    (own / "mine/requirements.txt").write_text("einops")
    (own / "README.md").write_text("about")
    assert stage.run("--own", str(own)) == 1
    assert "node mine cannot be imported" in capsys.readouterr().err
    assert stage.installed == {"mine"}
    assert "einops" in stage.pip_log.read_text()


def test_names_are_installed_as_given(stage: Stage) -> None:
    url, first = stage.repository("a-node")
    assert stage.run(f"{url}@{first}") == 0
    assert stage.installed == {"a-node"}


def test_a_wrong_snapshot_is_refused_before_anything_is_done(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage.restore(nodes=[]) == 1
    assert "nodes: no such section" in capsys.readouterr().err
    assert stage.installed == set()


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("comfyui-kjnodes", RegistryNode("comfyui-kjnodes")),
        ("comfyui-kjnodes@1.1.0", RegistryNode("comfyui-kjnodes", "1.1.0")),
        ("https://github.com/a/b", GitNode("https://github.com/a/b")),
        ("https://github.com/a/b@abc", GitNode("https://github.com/a/b", "abc")),
        ("https://user@host/a/b", GitNode("https://user@host/a/b")),
        ("git@github.com:a/b.git", GitNode("git@github.com:a/b.git")),
        ("git@github.com:a/b.git@abc", GitNode("git@github.com:a/b.git", "abc")),
    ],
)
def test_a_name_says_where_a_node_comes_from(text: str, node: object) -> None:
    assert parse_name(text) == node


def test_a_node_that_comfyui_does_not_mention_is_a_failure() -> None:
    assert failures("   0.0 seconds: /comfyui/custom_nodes/a\n", ["a", "b"]) == ["node b was not loaded"]
