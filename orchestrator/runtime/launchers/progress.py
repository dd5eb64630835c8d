"""What jobs report of their progress, read back."""

from __future__ import annotations

import json

from orchestrator.domain.job import Progress


def last_report(tail: bytes) -> Progress | None:
    """The last whole line that reports progress, of the end of a progress file."""
    for line in reversed(tail.splitlines(keepends=True)):
        report = _report(line) if line.endswith(b"\n") else None
        if report is not None:
            return report
    return None


def _report(line: bytes) -> Progress | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    done, detail = record.get("done"), record.get("detail", "")
    if isinstance(done, bool) or not isinstance(done, int | float) or not 0.0 <= done <= 1.0:
        return None
    return Progress(done=float(done), detail=detail if isinstance(detail, str) else "")
