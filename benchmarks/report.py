"""What a benchmark found: a table for people, JSON for programs, and whether its aims are met."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Aim:
    text: str
    value: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool:
        above = self.at_most is None or self.value <= self.at_most
        return above and (self.at_least is None or self.value >= self.at_least)

    def show(self) -> str:
        return f"{'met   ' if self.met else 'MISSED'} {self.text}: {self.value:.3g}"


@dataclass
class Report:
    name: str
    title: str
    header: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    aims: list[Aim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    #: The measurements behind the rows.
    data: dict[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        return "\n".join([f"## {self.name}: {self.title}", "", *self._table(), "", *self._remarks()]) + "\n"

    def write_json(self, folder: Path, circumstances: dict[str, Any]) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        aims = [
            {"aim": aim.text, "value": round(aim.value, 4), "at_most": aim.at_most, "at_least": aim.at_least,
             "met": aim.met}
            for aim in self.aims
        ]  # fmt: skip
        table = [dict(zip(self.header, row, strict=True)) for row in self.rows]
        found = {"title": self.title, "table": table, "aims": aims, "notes": self.notes, "measured": self.data}
        path.write_text(json.dumps({"benchmark": self.name, "machine": circumstances, **found}, indent=1) + "\n")
        return path

    def _table(self) -> Iterator[str]:
        """Markdown, its columns padded."""
        rows = [list(self.header), *map(list, self.rows)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(self.header))]
        for number, row in enumerate(rows):
            yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
            if number == 0:
                yield "|" + "|".join("-" * (width + 2) for width in widths) + "|"

    def _remarks(self) -> Iterator[str]:
        yield from (f"- {aim.show()}" for aim in self.aims)
        yield from (f"- {note}" for note in self.notes)
