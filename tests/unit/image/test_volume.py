"""Network volumes: what is found there, what ComfyUI is told of it, and what the doctor says."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_worker.__main__ import main
from comfy_worker.doctor import notes, problems, report, volume_hints
from comfy_worker.model_folders import ANY, SHIPPED, ModelFolder, model_folders, parse
from comfy_worker.volume import ROOTS, Survey, cached_models, extra_model_paths, survey

#: The shapes that occur in ComfyUI's folder_paths.py.
SOURCE = """
base_path = os.path.dirname(__file__)
models_dir = os.path.join(base_path, "models")
folder_names_and_paths["checkpoints"] = ([os.path.join(models_dir, "checkpoints")], supported_pt_extensions)
folder_names_and_paths["configs"] = ([os.path.join(models_dir, "configs")], [".yaml"])
folder_names_and_paths["diffusion_models"] = (
    [os.path.join(models_dir, "unet"), os.path.join(models_dir, "diffusion_models")], supported_pt_extensions)
folder_names_and_paths["diffusers"] = ([os.path.join(models_dir, "diffusers")], ["folder"])
folder_names_and_paths["classifiers"] = ([os.path.join(models_dir, "classifiers")], {""})
folder_names_and_paths["new_kind"] = ([os.path.join(models_dir, "new", "kind")], {".onnx"})
folder_names_and_paths["custom_nodes"] = ([os.path.join(base_path, "custom_nodes")], set())
"""


def put(path: Path, size: int = 5000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\0" * size)
    return path


def look(volume: Path) -> Survey:
    return survey(None, [volume])


def hints(volume: Path, field: str, value: str) -> list[str]:
    return volume_hints([(field, value)], look(volume), SHIPPED)


# --- ComfyUI's own list ---


def test_the_folders_are_read_from_comfyui() -> None:
    found = parse(SOURCE)
    assert set(found) == {"checkpoints", "diffusion_models", "diffusers", "classifiers", "new_kind"}
    assert found["diffusion_models"].places == ("diffusion_models", "unet")
    assert found["new_kind"] == ModelFolder("new_kind", ("new/kind",), frozenset({".onnx"}))
    assert found["diffusers"].suffixes == found["classifiers"].suffixes == ANY


@pytest.mark.parametrize("source", ["", "this is (no python", "folder_names_and_paths = {}"])
def test_what_is_not_comfyui_gives_the_shipped_list(tmp_path: Path, source: str) -> None:
    (tmp_path / "folder_paths.py").write_text(source)
    assert model_folders(tmp_path) == SHIPPED
    assert model_folders(tmp_path / "missing") == model_folders(None) == SHIPPED


def test_the_shipped_list_has_the_newer_folders() -> None:
    assert {"diffusion_models", "text_encoders", "model_patches", "audio_encoders", "style_models"} <= set(SHIPPED)


# --- extra_model_paths.yaml ---


def test_the_yaml_names_every_folder_of_every_base(tmp_path: Path) -> None:
    (tmp_path / "models/ipadapter").mkdir(parents=True)
    text = extra_model_paths([tmp_path], SHIPPED, None, custom_nodes=True)
    assert f'base_path: "{tmp_path}"' in text
    assert '"text_encoders": "models/text_encoders\\nmodels/clip"' in text
    assert '"ipadapter": "models/ipadapter"' in text
    assert '"custom_nodes": "custom_nodes"' in text
    assert all(f'"{name}": ' in text for name in SHIPPED)


def test_the_command_writes_nothing_without_a_volume(tmp_path: Path) -> None:
    assert main(["model-paths", str(tmp_path / "x.yaml"), "--volume", str(tmp_path / "none")]) == 0
    assert not (tmp_path / "x.yaml").exists()


def test_a_pods_comfyui_on_the_volume_is_found_too(tmp_path: Path) -> None:
    put(tmp_path / "volume/ComfyUI/models/vae/a.safetensors")
    main(["model-paths", str(tmp_path / "x.yaml"), "--volume", str(tmp_path / "volume")])
    assert f'"{tmp_path}/volume/ComfyUI"' in (tmp_path / "x.yaml").read_text()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A volume with a repository in RunPod's cache, in two revisions."""
    repository = tmp_path / "volume/huggingface-cache/hub/models--Comfy-Org--z_image_turbo"
    put(repository / "snapshots/new/split_files/vae/ae.safetensors")
    put(repository / "snapshots/new/top.safetensors")
    put(repository / "snapshots/new/README.md")
    put(repository / "snapshots/old/gone.safetensors")
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("new")
    return tmp_path / "volume"


def test_cached_models_are_those_of_the_main_revision(cache: Path) -> None:
    (model,) = cached_models(cache / "huggingface-cache/hub")
    assert model.name == "Comfy-Org/z_image_turbo"
    assert model.files == (Path("split_files/vae/ae.safetensors"), Path("top.safetensors"))


def test_cached_models_are_shown_to_comfyui_through_links(cache: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert main(["model-paths", str(tmp_path / "out.yaml"), "--volume", str(cache)]) == 0
    links = tmp_path / "cached-models"
    assert {path.parent.name for path in links.rglob("ae.safetensors")} == {"vae"}
    assert {"checkpoints", "diffusion_models"} <= {path.parent.name for path in links.rglob("top.safetensors")}
    assert (links / "vae/ae.safetensors").read_bytes() == b"\0" * 5000
    assert "cached_models:" in (tmp_path / "out.yaml").read_text()


def test_a_cache_without_reference_shows_the_snapshot_it_has(tmp_path: Path) -> None:
    put(tmp_path / "models--a--b/snapshots/one/x.safetensors")
    (tmp_path / "models--a--empty").mkdir()
    assert [(model.name, model.files) for model in cached_models(tmp_path)] == [("a/b", (Path("x.safetensors"),))]


# --- the doctor ---


def test_a_good_volume_has_no_problems(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(cache / "models/checkpoints/sdxl.safetensors")
    put(cache / "models/checkpoints/put_checkpoints_here", 0)
    put(cache / "models/ipadapter/ip.safetensors")
    put(cache / "models/loras/notes.txt", 3)
    put(cache / "models/classifiers/anything.xyz")
    assert main(["doctor", "--volume", str(cache)]) == 0
    out = capsys.readouterr().out
    assert "sdxl.safetensors  5000 bytes" in out
    assert "Cached by RunPod: Comfy-Org/z_image_turbo" in out
    assert "models/ipadapter (1 file) is none of ComfyUI's own folders" in out
    assert "No problems found." in out
    assert "put_checkpoints_here" not in out


@pytest.mark.parametrize(
    ("file", "size", "problem"),
    [
        ("models/checkpoint/x.safetensors", 5000, "did you mean models/checkpoints?"),
        ("models/Text-Encoders/x.safetensors", 5000, "did you mean models/text_encoders?"),
        ("models/x.safetensors", 5000, "lies directly in `models`"),
        ("x.safetensors", 5000, "lies outside `models`"),
        ("loras/x.safetensors", 5000, "lies outside `models`"),
        ("models/vae/x.onnx", 5000, "this suffix is not read in models/vae"),
        ("models/diffusion_models/x.gguf", 5000, "only with a custom node such as ComfyUI-GGUF"),
        ("models/loras/x.safetensors.part", 5000, "is an unfinished download"),
        ("models/loras/x.safetensors", 134, "only 134 bytes"),
    ],
)
def test_each_kind_of_disorder_is_named(tmp_path: Path, file: str, size: int, problem: str) -> None:
    (tmp_path / "models").mkdir()
    put(tmp_path / file, size)
    (found,) = problems(look(tmp_path), SHIPPED)
    assert problem in found
    assert notes(look(tmp_path), SHIPPED) == []
    assert main(["doctor", "--volume", str(tmp_path)]) == 1


def test_an_empty_volume_is_told_where_models_go(tmp_path: Path) -> None:
    (found,) = problems(look(tmp_path), SHIPPED)
    assert f"put models into {tmp_path}/models/checkpoints" in found


def test_no_volume_is_no_problem_but_is_said() -> None:
    found = Survey(looked_at=ROOTS, roots=(), bases=(), files=())
    assert report(found, SHIPPED) == [
        "/runpod-volume: not mounted",
        "/workspace: not mounted",
        "Note: no network volume is mounted: ComfyUI has the models of the image alone",
        "No problems found.",
    ]


def test_a_volume_that_was_asked_for_has_to_be_there(tmp_path: Path) -> None:
    assert main(["doctor", "--volume", str(tmp_path / "none")]) == 1
    (found,) = problems(look(tmp_path / "none"), SHIPPED)
    assert found.startswith(f"{tmp_path}/none is not there")


def test_a_link_to_nothing_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "models/vae").mkdir(parents=True)
    (tmp_path / "models/vae/a.safetensors").symlink_to("/gone/a.safetensors")
    assert problems(look(tmp_path), SHIPPED) == [
        f"{tmp_path}/models/vae/a.safetensors is a link to a file that is not there"
    ]


def test_linked_folders_are_read_as_comfyui_reads_them(tmp_path: Path) -> None:
    put(tmp_path / "shared/sdxl.safetensors")
    put(tmp_path / "elsewhere/vae.safetensors")
    (tmp_path / "models/checkpoints").mkdir(parents=True)
    (tmp_path / "models/checkpoints/all").symlink_to("../../shared")
    (tmp_path / "models/checkpoints/again").symlink_to("..")
    (tmp_path / "models/vae").mkdir()
    (tmp_path / "models/vae/vae.safetensors").symlink_to("../../elsewhere/vae.safetensors")
    found = look(tmp_path)
    assert [(file.place, file.name) for file in found.files] == [
        ("checkpoints", "all/sdxl.safetensors"),
        ("vae", "vae.safetensors"),
    ]
    assert problems(found, SHIPPED) == []


def test_of_many_models_outside_some_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for number in range(25):
        put(tmp_path / f"training/{number}.pt")
    found = problems(look(tmp_path), SHIPPED)
    assert len(found) == 11
    assert found[-1] == "15 more models lie outside `models`"


def test_the_models_of_the_image_are_listed_too(tmp_path: Path) -> None:
    put(tmp_path / "comfyui/models/vae/ae.safetensors", 250_000)
    lines = report(survey(tmp_path / "comfyui", [tmp_path / "none"]), SHIPPED)
    assert "    ae.safetensors  0.2 MB" in lines


# --- hints for files that ComfyUI did not find ---


@pytest.mark.parametrize(
    ("file", "field", "value", "hint"),
    [
        ("models/vae/a.safetensors", "ckpt_name", "a.safetensors", "lies in models/vae, but is read from models/check"),
        ("models/a.safetensors", "vae_name", "a.safetensors", "lies in `models` itself, but is read from models/vae"),
        ("a.safetensors", "lora_name", "a.safetensors", "outside `models`: move it to {}/models/loras"),
        ("models/loras/sdxl/a.safetensors", "lora_name", "a.safetensors", "the file is called 'sdxl/a.safetensors'"),
        ("models/loras/A.safetensors", "lora_name", "a.safetensors", "the file is called 'A.safetensors'"),
        ("models/unet/a.ckpt", "unet_name", "a.safetensors", "is not there, but 'a.ckpt' is in"),
        ("models/clip/a.safetensors.part", "clip_name2", "a.safetensors", "unfinished download: finish it or rename"),
        ("models/clip/clip_l.safetensors", "clip_name1", "clip_1.safetensors", "did you mean 'clip_l.safetensors'?"),
        ("models/vae/b.safetensors", "vae_name", "a.pt", "'a.pt' is nowhere on the network volume: put it into {}/mod"),
        ("models/vae/a.safetensors", "vae_name", "a.safetensors", "is there: was it there when this worker started?"),
        ("models/x/a.safetensors", "my_model", "a.safetensors", "models/x/a.safetensors is there"),
    ],
)
def test_a_missing_file_is_explained(tmp_path: Path, file: str, field: str, value: str, hint: str) -> None:
    put(tmp_path / file)
    assert any(hint.format(tmp_path) in text for text in hints(tmp_path, field, value))


def test_without_a_volume_the_hint_says_so(tmp_path: Path) -> None:
    (hint,) = hints(tmp_path / "none", "ckpt_name", "a.safetensors")
    assert hint == (
        f"'a.safetensors': no network volume is mounted at {tmp_path}/none, and the image does not have the file"
    )
