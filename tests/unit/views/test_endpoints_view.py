"""Endpoints on a page: what answers, what does not, and what nobody asked."""

from __future__ import annotations

from orchestrator.interfaces.views import plain
from orchestrator.interfaces.views.endpoints_view import Answer, Endpoint, EndpointsReport

ONE = Endpoint(run_id="chat-part-1-1a2b", offer="ssh oslo cpu owned", url="http://10.0.0.5:8000")


def test_what_was_not_asked_has_no_answer() -> None:
    report = EndpointsReport((ONE,))
    assert plain.render(report.page()).split() == [
        *("run", "on", "url", "chat-part-1-1a2b", "ssh", "oslo", "cpu", "owned", "http://10.0.0.5:8000"),
    ]
    assert report.document() == [
        {"run_id": ONE.run_id, "offer": ONE.offer, "url": ONE.url, "answer": None},
    ]


def test_an_answer_has_its_status_and_time_and_silence_its_reason() -> None:
    asked = (
        ONE.with_answer(Answer(status=404, seconds=0.0131)),
        ONE.with_answer(Answer(status=503, seconds=0.01)),
        ONE.with_answer(Answer(status=0, seconds=0.0, trouble="connection refused")),
    )
    assert [each.answer is not None and each.answer.ok for each in asked] == [True, False, False]
    lines = plain.render(EndpointsReport(asked, checked=True).page()).splitlines()
    assert "HTTP 404" in lines[1]
    assert "13.1 ms" in lines[1]
    assert "HTTP 503" in lines[2]
    assert "connection refused" in lines[3]
