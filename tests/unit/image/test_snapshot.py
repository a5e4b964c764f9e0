"""The check of a snapshot, ours and a user's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from comfy_image import snapshot
from comfy_image.snapshot import FileNode, GitNode, InvalidSnapshot, RegistryNode, parse, problems, read

ROOT = Path(__file__).parents[3]
COMMIT = "a" * 40


def test_the_shipped_snapshot_is_valid_and_made_with_the_pinned_comfyui() -> None:
    shipped = read(ROOT / "snapshot.json")
    assert shipped.nodes == (FileNode("websocket_image_save.py"),)
    assert f"ARG COMFYUI_COMMIT={shipped.comfyui}" in (ROOT / "Dockerfile").read_text()
    assert f"COMFYUI_COMMIT:-{shipped.comfyui}" in (ROOT / "image/install-comfyui").read_text()


def test_a_snapshot_of_the_manager_is_understood() -> None:
    found = parse(
        {
            "comfyui": COMMIT,
            "git_custom_nodes": {
                "https://github.com/a/Nodes.git": {"hash": COMMIT, "disabled": False},
                "https://github.com/a/Off": {"hash": COMMIT, "disabled": True},
            },
            "cnr_custom_nodes": {"some-nodes": "1.2.3"},
            "file_custom_nodes": [{"filename": "one.py", "disabled": True}],
            "pips": {"einops==0.8.2": "", "own": "git+https://github.com/a/own@main"},
        }
    )
    git = GitNode("https://github.com/a/Nodes.git", COMMIT)
    assert found.nodes == (git, RegistryNode("some-nodes", "1.2.3"), FileNode("one.py", disabled=True))
    assert git.folder == "Nodes"
    assert found.packages == ("einops==0.8.2", "own @ git+https://github.com/a/own@main")
    assert found.disabled == ("https://github.com/a/Off",)


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([], "a snapshot is a JSON object"),
        ({"custom_nodes": {}}, "custom_nodes: no such section"),
        ({"comfyui": "v0.26.0"}, "comfyui: 'v0.26.0' is not a commit"),
        ({"git_custom_nodes": []}, ""),
        ({"git_custom_nodes": ["x"]}, "git_custom_nodes: must be an object"),
        ({"git_custom_nodes": {"a/b": {"hash": COMMIT}}}, "a/b: is not the URL of a repository"),
        ({"git_custom_nodes": {"https://x/y": {}}}, 'needs {"hash"'),
        ({"git_custom_nodes": {"https://x/y": {"hash": "main"}}}, "hash 'main' is not a commit"),
        ({"git_custom_nodes": {"https://x/y": {"hash": COMMIT, "disabled": "no"}}}, "true or false"),
        ({"cnr_custom_nodes": {"x": "latest"}}, "x: 'latest' is not a version"),
        ({"file_custom_nodes": {"x": 1}}, "file_custom_nodes: must be a list"),
        ({"file_custom_nodes": [{"filename": "../x.py"}]}, "../x.py"),
        ({"pips": {"numpy": ""}}, "numpy: needs a version"),
        ({"pips": {"-r x": ""}}, "-r x: is not the name of a package"),
        ({"pips": {"x==1": 1}}, 'x==1: needs "" or a URL'),
    ],
)
def test_a_wrong_snapshot_is_refused_with_the_reason(document: Any, problem: str) -> None:
    found = list(problems(document))
    assert any(problem in text for text in found) if problem else found == []


def test_two_nodes_for_one_folder_are_refused(tmp_path: Path) -> None:
    git = {f"https://example.com/{owner}/Nodes": {"hash": COMMIT} for owner in "ab"}
    (tmp_path / "snapshot.json").write_text(json.dumps({"git_custom_nodes": git}))
    with pytest.raises(InvalidSnapshot, match="two nodes would be Nodes in custom_nodes"):
        read(tmp_path / "snapshot.json")


def test_the_command_checks_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.json").write_text(json.dumps({"cnr_custom_nodes": {"x": "1.0.0"}}))
    (tmp_path / "bad.json").write_text("{")
    assert snapshot.main([str(tmp_path / "good.json")]) == 0
    assert "nodes: 1, packages: 0" in capsys.readouterr().out
    assert snapshot.main([str(tmp_path / "bad.json")]) == 1
    assert "cannot be read" in capsys.readouterr().err
