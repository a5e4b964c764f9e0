"""Measurements of the worker: `python -m benchmarks`."""
