"""The results that the benchmarks' README shows are those of the JSON beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.published import BEGIN, END, README, published, tables


def test_the_readme_shows_the_results() -> None:
    """`python -m benchmarks` writes both."""
    readme = README.read_text()
    assert readme == published(readme, tables())


def test_a_result_becomes_a_table(tmp_path: Path) -> None:
    result = {
        "benchmark": "start",
        "machine": {"load_before": 0.1, "load_after": 0.2, "processor": "P", "cores": 2, "python": "3.11.7"},
        "title": "how long",
        "table": [{"what": "launch", "seconds": "0.1"}],
        "aims": [{"aim": "soon (at most 1)", "value": 2.0, "met": False}],
    }
    (tmp_path / "start.json").write_text(json.dumps(result))
    lines = tables(tmp_path).splitlines()
    assert lines[0] == "**start**: how long"
    assert "load 0.1 before, 0.2 after" in lines[2]
    assert lines[4:7] == ["| what | seconds |", "|---|---|", "| launch | 0.1 |"]
    assert "- **missed**: soon (at most 1): 2" in lines


def test_a_readme_without_a_place_for_them_is_refused() -> None:
    assert published(f"a\n{BEGIN}old{END}\nb", "new\n") == f"a\n{BEGIN}new\n{END}\nb"
    with pytest.raises(ValueError, match="results:begin"):
        published("no place", "new")
