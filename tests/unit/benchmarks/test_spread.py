"""The benchmarks' own arithmetic."""

from __future__ import annotations

import pytest
from benchmarks.backlog import outcome
from benchmarks.endpoint import Span
from benchmarks.report import Aim, Report
from benchmarks.sparse import free_between
from benchmarks.spread import Spread, exponent, growth, interleaved, ratios


def test_median_and_quartiles() -> None:
    assert Spread.of([5, 1, 4, 2, 3]) == Spread(3, 2, 4, 5)
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0, 1)
    assert Spread.of([0.001, 0.002, 0.003]).show(1000, 1) == "2.0 (1.5-2.5)"


def test_a_ratio_is_taken_within_each_round() -> None:
    assert ratios([2, 20, 200], [1, 10, 100]) == Spread(2, 2, 2, 3)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_law(power: float) -> None:
    sizes = [1, 10, 100, 1000]
    assert exponent(sizes, [3 * size**power for size in sizes]) == pytest.approx(power)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_growth_is_not_hidden_by_a_fixed_part(power: float) -> None:
    sizes = [0, 10, 100, 1000]
    assert growth(sizes, [50 + 0.01 * size**power for size in sizes]) == pytest.approx(power)


def test_what_does_not_grow_has_no_exponent() -> None:
    assert growth([1, 2, 4], [5.0, 4.9, 4.8]) == 0.0


def test_contenders_take_turns_and_the_first_round_does_not_count() -> None:
    order: list[str] = []
    measured = interleaved(3, {"a": lambda: order.append("a"), "b": lambda: order.append("b")})
    assert "".join(order) == "abbaabba"
    assert {name: len(seconds) for name, seconds in measured.items()} == {"a": 3, "b": 3}


def test_busy_share_and_gaps_of_a_backlog() -> None:
    found = outcome([Span(0, 1), Span(1.5, 2.5), Span(2.5, 4)])
    assert found.gaps == [0.5, 0.0]
    assert found.busy == pytest.approx(3.5 / 4)
    assert found.per_minute == pytest.approx(45)


def test_a_worker_is_free_when_it_has_held_nothing_for_longer_than_the_sdk_sleeps() -> None:
    held = [(0.0, 2.0), (10.0, 12.0)]
    assert free_between(held, 4.0, 5.0)
    assert not free_between(held, 2.5, 3.0)  # the SDK may be asleep
    assert free_between(held, 2.5, 3.5)
    assert free_between(held, 9.9, 9.95)
    assert not free_between(held, 10.5, 11.5)
    assert free_between(held, 20.0, 21.0)
    assert not free_between([], 4.0, 4.0)


@pytest.mark.parametrize(
    ("aim", "met"),
    [(Aim("", 1.0, at_most=1.0), True), (Aim("", 1.1, at_most=1.0), False), (Aim("", 0.9, at_least=1.0), False)],
)
def test_an_aim_is_met_or_not(aim: Aim, met: bool) -> None:
    assert aim.met is met


def test_the_table_is_markdown() -> None:
    report = Report("name", "title", ["a", "long"], [["longer", "b"]], notes=["a note"])
    assert report.text() == "## name: title\n\n| a      | long |\n|--------|------|\n| longer | b    |\n\n- a note\n"
