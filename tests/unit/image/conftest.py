"""The build tools live beside the image, not in src: they are part of no program."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT / "image"), str(Path(__file__).parent)]
