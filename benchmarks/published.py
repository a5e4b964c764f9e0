"""The results in benchmarks/README.md: written from the JSON, so that the two cannot differ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- results:begin -->\n", "<!-- results:end -->"
#: As in the table at the top of the README; each may have parts of its own (`backlog-sparse`).
ORDER = ("overhead", "backlog", "delivery", "start", "scale")


def tables(folder: Path = RESULTS) -> str:
    """Markdown of all results in the folder."""
    found = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    found.sort(key=lambda result: (ORDER.index(result["benchmark"].partition("-")[0]), result["benchmark"]))
    return "\n".join(line for result in found for line in _section(result))


def published(readme: str, written: str) -> str:
    """The README with these results in place of the ones it has."""
    head, _, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not end:
        raise ValueError(f"the README has no {BEGIN.strip()} ... {END}")
    return f"{head}{BEGIN}{written}{END}{tail}"


def publish() -> None:
    README.write_text(published(README.read_text(), tables()))


def _section(result: dict[str, Any]) -> Iterator[str]:
    machine, header = result["machine"], list(result["table"][0])
    on = f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}"
    load = f"load {machine['load_before']} before, {machine['load_after']} after"
    yield f"**{result['benchmark']}**: {result['title']}\n\n{on}; {load}\n"
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in result["table"]:
        yield f"| {' | '.join(row.values())} |"
    yield ""
    for aim in result["aims"]:
        yield f"- {'met' if aim['met'] else '**missed**'}: {aim['aim']}: {aim['value']:.3g}"
    yield ""
