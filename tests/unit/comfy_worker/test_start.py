"""What the worker's own start is made of."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("runpod", "requests", "boto3", "PIL", "http.client", "ssl", "asyncio", "difflib")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout


def test_trap_21_nothing_heavy_is_imported_before_comfyui_is_launched() -> None:
    loaded = run("import sys, handler; print(*sys.modules)").split()
    assert not set(HEAVY) & set(loaded)
    assert "torch" not in loaded


def test_the_sdk_is_imported_without_its_survey_of_the_processor_and_others_still_get_it() -> None:
    code = """
import sys, handler
with handler.without_processor_survey():
    import runpod
    assert "cpuinfo" in sys.modules
assert "cpuinfo" not in sys.modules
import cpuinfo
print(callable(cpuinfo.get_cpu_info_json))
"""
    assert run(code).split()[-1] == "True"
