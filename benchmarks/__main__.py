"""`python -m benchmarks [name ...] [--quick] [--results FOLDER]`: tables on stdout, JSON into the folder and, when that
is the project's own, tables into the README."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import time
from pathlib import Path

from benchmarks import machine
from benchmarks.published import ORDER, RESULTS, publish


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the worker.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"which of {', '.join(ORDER)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a look, not a measurement; keeps no JSON")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON (default: %(default)s)")
    options = parser.parse_args()
    if unknown := set(options.names) - set(ORDER):
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}")
    logging.getLogger("comfy_worker").setLevel(logging.CRITICAL)
    about = machine.describe()
    say = sys.stdout.write
    say(f"{about['processor']}, {about['cores']} cores, load {about['load_at_start']}, Python {about['python']}\n\n")
    started = time.monotonic()
    for name in options.names or ORDER:
        before, load_before = time.monotonic(), machine.load()
        for report in importlib.import_module(f"benchmarks.{name}").run(quick=options.quick):
            took, load = time.monotonic() - before, (load_before, machine.load())
            report.notes.append(f"{took:.0f} s; load of the machine {load[0]} before, {load[1]} after")
            say(report.text() + "\n")
            sys.stdout.flush()
            if not options.quick:
                report.write_json(options.results, {**about, "load_before": load[0], "load_after": load[1]})
    if not options.quick and options.results.resolve() == RESULTS:
        publish()
    say(f"{time.monotonic() - started:.0f} s in all\n")


if __name__ == "__main__":
    main()
