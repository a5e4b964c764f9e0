"""ComfyUI's folders on disk: nothing outside of them is read, and cleaning stops at their roots."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from comfy_worker.comfyui.folders import Folders

BASE = Path("/comfyui")


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    for name in ("input", "output", "temp"):
        (tmp_path / name).mkdir()
    return Folders(tmp_path / "input", tmp_path / "output", tmp_path / "temp")


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


@pytest.mark.parametrize(
    ("arguments", "roots"),
    [
        ([], ("/comfyui/input", "/comfyui/output", "/comfyui/temp")),
        (["--lowvram", "--port", "8188"], ("/comfyui/input", "/comfyui/output", "/comfyui/temp")),
        (["--output-directory", "/out"], ("/comfyui/input", "/out", "/comfyui/temp")),
        (["--output-directory=/out", "--input-directory=/in"], ("/in", "/out", "/comfyui/temp")),
        (["--temp-directory", "/scratch"], ("/comfyui/input", "/comfyui/output", "/scratch/temp")),
        (["--base-directory", "/volume"], ("/volume/input", "/volume/output", "/volume/temp")),
        (["--base-directory", "/volume", "--output-directory", "/out"], ("/volume/input", "/out", "/volume/temp")),
        # ComfyUI is started in its own folder.
        (["--base-directory", "data"], ("/comfyui/data/input", "/comfyui/data/output", "/comfyui/data/temp")),
        (["--output-directory", "made"], ("/comfyui/input", "/comfyui/made", "/comfyui/temp")),
    ],
)
def test_where_comfyui_has_its_folders(arguments: list[str], roots: tuple[str, str, str]) -> None:
    found = Folders.of(BASE, arguments)
    assert tuple(str(found._roots[name]) for name in ("input", "output", "temp")) == roots


def test_a_file_is_found_where_it_is(folders: Folders, tmp_path: Path) -> None:
    plain = write(tmp_path / "output" / "a.png")
    deep = write(tmp_path / "temp" / "x" / "y" / "übung 写真.png")
    assert folders.find("output", "", "a.png") == plain
    assert folders.find("temp", "x/y", "übung 写真.png") == deep
    assert folders.find("output", "x", "../a.png") == plain
    assert folders.find("output", ".", "a.png") == plain


@pytest.mark.parametrize(
    ("folder", "subfolder", "filename"),
    [
        ("output", "", "missing.png"),
        ("output", "", ""),
        ("output", "sub", ""),
        ("secret", "", "a.png"),
        ("", "", "a.png"),
        ("output", "", "../outside.png"),
        ("output", "..", "outside.png"),
        ("output", "sub/../..", "outside.png"),
        ("output", "", "../input/b.png"),
        ("output", "../output-old", "c.png"),
        ("output", "/etc", "passwd"),
        ("output", "", "/etc/passwd"),
        ("output", "", "a\0.png"),
        ("output", "", "x" * 300),
        ("output", "", "a\ud800.png"),
        ("output", "a.png", "b.png"),
    ],
)
def test_trap_12_what_is_not_inside_is_not_found(
    folders: Folders, tmp_path: Path, folder: str, subfolder: str, filename: str
) -> None:
    for path in ("output/a.png", "output/sub/x.png", "outside.png", "input/b.png", "output-old/c.png"):
        write(tmp_path / path)
    assert folders.find(folder, subfolder, filename) is None
    folders.remove(folder, subfolder, filename)
    assert (tmp_path / "outside.png").exists()
    assert (tmp_path / "input/b.png").exists()


def test_trap_12_links_that_lead_outside_are_not_followed(folders: Folders, tmp_path: Path) -> None:
    secret = write(tmp_path / "secret" / "key.txt")
    (tmp_path / "output" / "link.txt").symlink_to(secret)
    (tmp_path / "output" / "folder").symlink_to(secret.parent)
    assert folders.find("output", "", "link.txt") is None
    assert folders.find("output", "folder", "key.txt") is None
    folders.remove("output", "", "link.txt")
    folders.remove("output", "folder", "key.txt")
    assert secret.exists()


def test_a_folder_that_is_itself_a_link_is_that_folder(tmp_path: Path) -> None:
    """Network volumes are linked in as ComfyUI's folders."""
    volume = tmp_path / "volume"
    made = write(volume / "job" / "a.png")
    (tmp_path / "output").symlink_to(volume)
    folders = Folders(tmp_path / "input", tmp_path / "output", tmp_path / "temp")
    assert folders.find("output", "job", "a.png") == made
    folders.remove("output", "job", "a.png")
    assert volume.exists()
    assert list(volume.iterdir()) == []


def test_trap_14_removing_a_file_removes_the_folders_it_leaves_empty(folders: Folders, tmp_path: Path) -> None:
    write(tmp_path / "output" / "a" / "b" / "c" / "1.png")
    kept = write(tmp_path / "output" / "a" / "2.png")
    folders.remove("output", "a/b/c", "1.png")
    assert [path.name for path in (tmp_path / "output" / "a").iterdir()] == ["2.png"]
    assert kept.exists()


def test_trap_14_the_root_itself_stays(folders: Folders, tmp_path: Path) -> None:
    write(tmp_path / "output" / "1.png")
    write(tmp_path / "output" / "a" / "2.png")
    folders.remove("output", "", "1.png")
    folders.remove("output", "a", "2.png")
    assert (tmp_path / "output").is_dir()
    assert list((tmp_path / "output").iterdir()) == []


def test_trap_14_what_was_there_before_the_job_stays(folders: Folders, tmp_path: Path) -> None:
    old, new = write(tmp_path / "output" / "old.png"), write(tmp_path / "output" / "new.png")
    os.utime(old, (1_000_000, 1_000_000))
    since = time.time() - 60
    folders.remove("output", "", "old.png", newer_than=since)
    folders.remove("output", "", "new.png", newer_than=since)
    assert old.exists()
    assert not new.exists()


def test_trap_14_removing_twice_is_no_error(folders: Folders, tmp_path: Path) -> None:
    write(tmp_path / "output" / "a" / "1.png")
    folders.remove("output", "a", "1.png")
    folders.remove("output", "a", "1.png")
    assert not (tmp_path / "output" / "a").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may remove everything")
def test_a_file_that_cannot_be_removed_does_not_fail_the_job(folders: Folders, tmp_path: Path) -> None:
    path = write(tmp_path / "output" / "a" / "1.png")
    path.parent.chmod(0o500)
    folders.remove("output", "a", "1.png")
    path.parent.chmod(0o700)
    assert path.exists()


def test_the_jobs_own_output_folder(folders: Folders, tmp_path: Path) -> None:
    folders.make_output_folder("job-1")
    folders.make_output_folder("job-1")
    write(tmp_path / "output" / "job-1" / "made" / "a.png")
    other = write(tmp_path / "output" / "job-10" / "a.png")
    folders.remove_output_folder("job-1")
    folders.remove_output_folder("job-1")
    assert not (tmp_path / "output" / "job-1").exists()
    assert other.exists()
