from __future__ import annotations

import base64
from pathlib import Path

import pytest

from local_runpod.delivery import Delivery


def image(name: str, content: bytes = b"x", **more: object) -> dict[str, object]:
    return {"filename": name, "type": "base64", "data": base64.b64encode(content).decode(), **more}


def deliver(folder: Path, *entries: object, kind: str = "images") -> Delivery:
    delivery = Delivery(folder)
    delivery.write({kind: list(entries)})
    return delivery


def files_under(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", ["images", "videos", "audio", "files"])
def test_every_kind_of_file_is_written(tmp_path: Path, kind: str) -> None:
    delivery = deliver(tmp_path / "out", image("a.png", b"12345"), kind=kind)
    assert (tmp_path / "out" / "a.png").read_bytes() == b"12345"
    assert list(delivery.lines()) == [f"{tmp_path / 'out' / 'a.png'}  5 B"]


@pytest.mark.parametrize(
    ("name", "subfolder", "expected"),
    [
        ("a.png", "", "a.png"),
        ("a.png", "x/y", "x/y/a.png"),
        ("../../a.png", "", "a.png"),
        ("/etc/passwd", "", "etc/passwd"),
        ("..\\..\\a.png", "..", "a.png"),
        ("C:\\a.png", "", "C_/a.png"),
        ("a\x00b\n.png", "", "a_b_.png"),
        ("..", "..", "file"),
        ("con.png", "", "_con.png"),
        ("é 猫.png", "", "é 猫.png"),
        ("x" * 300 + ".png", "", "x" * 196 + ".png"),
    ],
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str, subfolder: str, expected: str) -> None:
    folder = tmp_path / "out"
    deliver(folder, image(name, subfolder=subfolder))
    assert files_under(tmp_path) == [f"out/{expected}"]


def test_a_second_file_of_one_name_gets_a_number_and_one_of_an_earlier_run_is_replaced(tmp_path: Path) -> None:
    for content in (b"first", b"second run"):
        deliver(tmp_path, image("a.png", content), image("A.png", b"other"), image("a.png", b"third"))
    assert files_under(tmp_path) == ["A-2.png", "a-3.png", "a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"second run"


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    folder.mkdir()
    (outside / "victim").write_bytes(b"untouched")
    (folder / "a.png").symlink_to(outside / "victim")
    (folder / "sub").symlink_to(outside)
    delivery = deliver(folder, image("a.png", b"new"), image("b.png", subfolder="sub"))
    assert (outside / "victim").read_bytes() == b"untouched"
    assert (folder / "a.png").read_bytes() == b"new"
    assert files_under(outside) == ["victim"]
    assert delivery.notes == ["b.png could not be written: its folder leads outside of the output folder"]


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    delivery = deliver(
        tmp_path,
        {"filename": "a.png", "type": "base64", "data": "not base64!"},
        {"filename": "b.png"},
        {"filename": "c.png", "type": "s3_url", "data": "file:///etc/passwd"},
        "not an entry",
        image("d.png"),
    )
    assert files_under(tmp_path) == ["d.png"]
    assert [note.split(":")[0] for note in delivery.notes] == [f"{name}.png could not be written" for name in "abc"]


@pytest.mark.parametrize("output", [None, [], "text", {"images": None}, {"images": {}}, {"other": [1]}])
def test_an_output_without_files_writes_nothing(tmp_path: Path, output: object) -> None:
    delivery = Delivery(tmp_path)
    delivery.write(output)
    assert files_under(tmp_path) == []


def test_data_uris_are_decoded(tmp_path: Path) -> None:
    deliver(tmp_path, {"filename": "a.png", "type": "base64", "data": "data:image/png;base64,AAEC"})
    assert (tmp_path / "a.png").read_bytes() == b"\x00\x01\x02"
