"""What the picture nodes compute: each result is held against the one of a real ComfyUI 0.26.0, pixel by pixel.

`pictures-0.26.0.json` has the real results as PNGs; `write_pictures.py` beside this file makes it anew.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from comfyui_conversation import ComfyUI
from comfyui_pictures import CASES, Case, run_case
from PIL import Image, ImageChops

RESULTS: dict[str, str] = json.loads((Path(__file__).parent / "pictures-0.26.0.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_node_computes_what_the_real_one_computes(comfyui: ComfyUI, case: Case) -> None:
    expected = Image.open(io.BytesIO(base64.b64decode(RESULTS[case.name])))
    actual = run_case(comfyui, case)
    assert (actual.size, actual.mode) == (expected.size, expected.mode)
    extremes: Any = ImageChops.difference(actual, expected).getextrema()
    largest = max(high for _, high in extremes)
    assert largest <= case.tolerance, f"differs by up to {largest} of 255"
