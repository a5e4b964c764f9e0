from __future__ import annotations

from pathlib import Path

import pytest

from local_runpod.delivery import Delivery
from local_runpod.once import summary

JOB = {"delayTime": 5, "executionTime": 1200, "id": "sync-1-u1", "status": "COMPLETED", "workerId": "w1"}


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (
            {**JOB, "output": {"images": [{"filename": "a", "type": "base64", "data": "AAAA"}], "errors": ["careful"]}},
            "COMPLETED  sync-1-u1\n  waited 5 ms, ran 1200 ms on w1\n  {folder}/a  3 B\n  careful",
        ),
        (
            {**JOB, "status": "FAILED", "error": "no such model", "output": {"details": ["node 3"]}},
            "FAILED  sync-1-u1\n  waited 5 ms, ran 1200 ms on w1\n  error: no such model\n  node 3",
        ),
        ({**JOB, "output": "text"}, "COMPLETED  sync-1-u1\n  waited 5 ms, ran 1200 ms on w1"),
        (
            {"status": 400, "title": "Bad Request", "detail": "bad request: `input` is missing"},
            "400\n  error: bad request: `input` is missing",
        ),
    ],
)
def test_a_job_is_summed_up_in_a_few_lines(tmp_path: Path, job: dict[str, object], expected: str) -> None:
    delivery = Delivery(tmp_path)
    delivery.write(job.get("output"))
    assert summary(job, delivery).strip() == expected.format(folder=tmp_path)
