"""Names inside folders: no way out, counters, placeholders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_comfyui.folders import Folders, inside, save_place

BASE = Path("/srv/comfy/input")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "..", "a\0b", "/srv/comfy/input2/x"])
def test_names_that_leave_the_folder(name: str) -> None:
    assert inside(BASE, name) is None


@given(st.text(max_size=30))
def test_no_name_leads_out(name: str) -> None:
    found = inside(BASE, name)
    assert found is None or os.path.commonpath((BASE, found)) == str(BASE)


def test_annotated_names(tmp_path: Path) -> None:
    folders = Folders.under(tmp_path)
    folders.create()
    (folders.output / "made.png").write_bytes(b"")
    assert folders.annotated("made.png [output]") == ("made.png", folders.output)
    assert folders.input_file("made.png [output]") == folders.output / "made.png"
    assert folders.input_file("made.png") is None
    assert folders.input_file("../output/made.png") is None


def test_only_pictures_are_listed_for_load_image(tmp_path: Path) -> None:
    folders = Folders.under(tmp_path)
    assert folders.input_images() == []
    folders.create()
    for name in ("b.PNG", "a.webp", "notes.txt", "song.wav"):
        (folders.input / name).write_bytes(b"")
    (folders.input / "sub.png").mkdir()
    assert folders.input_images() == ["a.webp", "b.PNG"]


def test_the_counter_goes_on_after_the_highest_file_of_that_name(tmp_path: Path) -> None:
    for name in ("pic_00007_.png", "pic_00003_.webp", "picture_00099_.png", "pic_x_.png", "other_00050_.png"):
        (tmp_path / name).write_bytes(b"")
    assert save_place("pic", tmp_path, 1, 1).counter == 8
    assert save_place("new", tmp_path, 1, 1).counter == 1


def test_a_prefix_makes_its_subfolder(tmp_path: Path) -> None:
    place = save_place("a//b/./%width%x%height%", tmp_path, 30, 20)
    assert (place.subfolder, place.stem) == ("a/b", "30x20")
    assert place.folder.is_dir()


@pytest.mark.parametrize("prefix", ["../x", "/x/y", "a/../../../x"])
def test_a_prefix_that_leaves_the_output_folder(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(Exception, match="outside the output folder"):
        save_place(prefix, tmp_path, 1, 1)


def test_temp_is_a_folder_of_its_own_inside_the_given_directory(tmp_path: Path) -> None:
    assert Folders.under(tmp_path, temp_directory=tmp_path / "t").temp == tmp_path / "t" / "temp"
    assert Folders.under(tmp_path).temp == tmp_path / "temp"
