"""ComfyUI's output dicts -> files and texts, of every kind."""

from __future__ import annotations

import re
from typing import Any

import pytest
from worker_recordings import VERSIONS, load, load_all

from comfy_worker.outputs import (
    FILE_FIELDS,
    OutputFile,
    OutputText,
    field_of,
    media_type_of,
    own_subfolder,
    parse_output,
)


def file(filename: str, subfolder: str = "", folder: str = "output", node_id: str = "9") -> OutputFile:
    return OutputFile(node_id, filename, subfolder, folder)


#: Scenario -> what its history hands out: (node, file name, subfolder, folder, media type, field of the response).
RECORDED: dict[str, list[tuple[str, ...]]] = {
    "output_animated_png": [("2", "anim_*.png", "", "output", "image/png", "images")],
    "output_animated_webp": [("2", "anim_*.webp", "", "output", "image/webp", "images")],
    "output_video_webm": [("2", "vid_*.webm", "", "output", "video/webm", "videos")],
    "output_video_mp4": [("3", "vid_*.mp4", "video", "output", "video/mp4", "videos")],
    "output_audio": [
        ("2", "rec_*.flac", "audio", "output", "audio/flac", "audio"),
        ("3", "rec_*.mp3", "audio", "output", "audio/mpeg", "audio"),
        ("4", "ComfyUI_temp_*.flac", "", "temp", "audio/flac", "audio"),
    ],
    "output_latent": [("2", "rec_*.latent", "latents", "output", "application/octet-stream", "files")],
    "output_preview_only": [("2", "ComfyUI_temp_*.png", "", "temp", "image/png", "images")],
    "output_text": [],
}


def recorded_items(version: str, scenario: str) -> list[OutputFile | OutputText]:
    (history,) = load(version, scenario).histories.values()
    return [item for node_id, output in sorted(history["outputs"].items()) for item in parse_output(node_id, output)]


def starred(name: str) -> str:
    """Without ComfyUI's counter, and without the letters that it rolls for each preview."""
    return re.sub(r"_(temp_)?\w+_?\.", r"_\1*.", name)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("scenario", RECORDED)
def test_trap_06_recorded_outputs(version: str, scenario: str) -> None:
    files = [item for item in recorded_items(version, scenario) if isinstance(item, OutputFile)]
    assert [(f.node_id, starred(f.filename), f.subfolder, f.folder, f.media_type, f.field) for f in files] == RECORDED[
        scenario
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_trap_06_recorded_text(version: str) -> None:
    assert recorded_items(version, "output_text") == [OutputText("2", "hello from the workflow")]


def test_every_recorded_output_has_a_row() -> None:
    assert {r.name.partition("-")[2] for r in load_all() if "-output_" in r.name} == set(RECORDED)


def test_trap_06_every_entry_of_every_recorded_history_is_handed_out() -> None:
    for recording in load_all():
        for history in recording.histories.values():
            for node_id, output in history["outputs"].items():
                entries = [entry for values in output.values() for entry in values if not isinstance(entry, bool)]
                assert len(parse_output(node_id, output)) == len(entries), recording.name


VIDEO_HELPER_SUITE = {
    "gifs": [
        {
            "filename": "AnimateDiff_00001.mp4",
            "subfolder": "vhs",
            "type": "output",
            "format": "video/h264-mp4",
            "frame_rate": 8.0,
            "workflow": "AnimateDiff_00001.png",
            "fullpath": "/comfyui/output/vhs/AnimateDiff_00001.mp4",
        }
    ]
}


@pytest.mark.parametrize(
    ("output", "items"),
    [
        (VIDEO_HELPER_SUITE, [file("AnimateDiff_00001.mp4", "vhs")]),
        (
            {"3d": [{"filename": "mesh_00001_.glb", "subfolder": "3d", "type": "output"}]},
            [file("mesh_00001_.glb", "3d")],
        ),
        ({"videos": [{"filename": "a.mp4", "subfolder": "", "type": "output"}]}, [file("a.mp4")]),
        ({"my_key": [{"filename": "a.bin"}]}, [file("a.bin")]),
        ({"my_key": {"filename": "a.bin", "type": "temp"}}, [file("a.bin", folder="temp")]),
        ({"result": ["models/mesh.glb", None, 7, 1.5, True]}, [OutputText("9", "models/mesh.glb")]),
        ({"text": ["one", "two"]}, [OutputText("9", "one"), OutputText("9", "two")]),
        ({"text": "bare"}, [OutputText("9", "bare")]),
        ({"text": [["nested"]]}, [OutputText("9", "nested")]),
        ({"text": [""]}, [OutputText("9", "")]),
        ({"images": [{"filename": "a.webp"}], "animated": [True]}, [file("a.webp")]),
        ({"images": [{"filename": "a.png", "subfolder": None, "type": None}]}, [file("a.png")]),
        ({"images": [{"filename": "a.png", "subfolder": 7, "type": ""}]}, [file("a.png")]),
        ({"images": [{"filename": ""}, {"filename": None}, {"filename": 7}, {}, {"name": "a"}]}, []),
        ({"images": None, "n": 1, "b": True, "o": {}}, []),
        ({}, []),
    ],
)
def test_trap_06_outputs_of_custom_nodes(output: dict[str, Any], items: list[OutputFile | OutputText]) -> None:
    assert parse_output("9", output) == items


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        ({"filename": "übung 写真.png", "subfolder": "bilder/ä"}, ("übung 写真.png", "bilder/ä")),
        ({"filename": "a.png", "subfolder": "jobs\\one"}, ("a.png", "jobs/one")),
        ({"filename": "a.png", "subfolder": "/jobs/one/"}, ("a.png", "jobs/one")),
        ({"filename": "a.png", "subfolder": "\\jobs\\"}, ("a.png", "jobs")),
        # Where a path may lead is judged where it is opened: comfyui/folders.py, ComfyUI's /view, the bucket's key.
        ({"filename": "../a.png", "subfolder": "../x"}, ("../a.png", "../x")),
        ({"filename": "one/a.png", "subfolder": ""}, ("one/a.png", "")),
    ],
)
def test_trap_12_names_and_folders_of_outputs(entry: dict[str, Any], place: tuple[str, str]) -> None:
    (item,) = parse_output("9", {"images": [entry]})
    assert isinstance(item, OutputFile)
    assert (item.filename, item.subfolder) == place


@pytest.mark.parametrize(
    ("filename", "media_type", "field"),
    [
        ("a.png", "image/png", "images"),
        ("a.PNG", "image/png", "images"),
        ("a.jpg", "image/jpeg", "images"),
        ("a.jpeg", "image/jpeg", "images"),
        ("a.webp", "image/webp", "images"),
        ("a.gif", "image/gif", "images"),
        ("a.avif", "image/avif", "images"),
        ("a.svg", "image/svg+xml", "images"),
        ("a.exr", "image/x-exr", "images"),
        ("a.tiff", "image/tiff", "images"),
        ("a.bmp", "image/bmp", "images"),
        ("a.mp4", "video/mp4", "videos"),
        ("a.webm", "video/webm", "videos"),
        ("a.mkv", "video/x-matroska", "videos"),
        ("a.mov", "video/quicktime", "videos"),
        ("a.flac", "audio/flac", "audio"),
        ("a.mp3", "audio/mpeg", "audio"),
        ("a.wav", "audio/wav", "audio"),
        ("a.opus", "audio/ogg", "audio"),
        ("a.ogg", "audio/ogg", "audio"),
        ("a.m4a", "audio/mp4", "audio"),
        ("a.glb", "model/gltf-binary", "files"),
        ("a.gltf", "model/gltf+json", "files"),
        ("a.obj", "model/obj", "files"),
        ("a.ply", "application/octet-stream", "files"),
        ("a.latent", "application/octet-stream", "files"),
        ("a.safetensors", "application/octet-stream", "files"),
        ("a.json", "application/json", "files"),
        ("a.txt", "text/plain", "files"),
        ("a.zip", "application/zip", "files"),
        ("a.tar.gz", "application/octet-stream", "files"),
        ("a", "application/octet-stream", "files"),
        (".png", "application/octet-stream", "files"),
        ("http://x/a.png?b=c", "application/octet-stream", "files"),
        ("data:image/png,a", "application/octet-stream", "files"),
        ("", "application/octet-stream", "files"),
    ],
)
def test_media_types_and_fields(filename: str, media_type: str, field: str) -> None:
    assert media_type_of(filename) == media_type
    assert field_of(media_type) == field
    assert field in FILE_FIELDS


@pytest.mark.parametrize(
    ("subfolder", "own"),
    [
        ("job-1", ""),
        ("job-1/made", "made"),
        ("job-1/made/by/me", "made/by/me"),
        ("made", "made"),
        ("", ""),
        ("job-10/made", "job-10/made"),
        ("made/job-1", "made/job-1"),
    ],
)
def test_trap_15_the_jobs_own_folder_is_stripped_from_the_answer(subfolder: str, own: str) -> None:
    assert own_subfolder(subfolder, "job-1") == own
