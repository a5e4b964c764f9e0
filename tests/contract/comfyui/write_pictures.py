"""Writes pictures-0.26.0.json anew: `python write_pictures.py URL` with the URL of a real ComfyUI 0.26.0."""

from __future__ import annotations

import base64
import io
import json
import sys
from pathlib import Path

from comfyui_conversation import ComfyUI
from comfyui_pictures import CASES, run_case

results = {}
for case in CASES:
    buffer = io.BytesIO()
    run_case(ComfyUI(sys.argv[1]), case).save(buffer, "PNG", optimize=True)
    results[case.name] = base64.b64encode(buffer.getvalue()).decode()
target = Path(__file__).parent / "pictures-0.26.0.json"
target.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
