"""The README's table of settings is the code's own."""

from __future__ import annotations

import os
from pathlib import Path

from comfy_worker.config import VARIABLES

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- settings:begin -->\n", "<!-- settings:end -->"


def table() -> str:
    rows = ["| variable | default | |\n", "|---|---|---|\n"]
    for variable in VARIABLES:
        default = f"`{variable.default}`" if variable.default else "-"
        rows.append(f"| `{variable.name}` | {default} | {variable.about} |\n")
    return "".join(rows)


def test_the_table_of_settings_is_current() -> None:
    """UPDATE_README=1 writes it."""
    text = README.read_text()
    head, _, rest = text.partition(BEGIN)
    written, _, tail = rest.partition(END)
    if os.environ.get("UPDATE_README"):
        README.write_text(head + BEGIN + table() + END + tail)
        return
    assert written == table()
