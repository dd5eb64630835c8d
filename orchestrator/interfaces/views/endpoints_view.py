"""Where services are reached: a line for each machine."""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.page import Page, Table, Text, bad, good, left, line, right, strong, warn
from orchestrator.spec.documents import to_jsonable

SERVER_ERROR = 500
COLUMNS = (left("run"), left("on"), left("url"))
ASKED = (*COLUMNS, left("answers"), right("in"))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service said when it was asked: an HTTP status, or why there is none."""

    status: int
    seconds: float
    trouble: str = ""

    @property
    def ok(self) -> bool:
        """Whether somebody is there: a page that is not there is an answer, too."""
        return 0 < self.status < SERVER_ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One machine of a run that serves."""

    run_id: str
    offer: str  # its label
    url: str
    answer: Answer | None = None

    def with_answer(self, answer: Answer) -> Endpoint:
        """The same, asked."""
        return replace(self, answer=answer)


@dataclass(frozen=True, slots=True)
class EndpointsReport:
    """Every machine that serves."""

    endpoints: tuple[Endpoint, ...]
    checked: bool = False

    def page(self) -> Page:
        """A table."""
        if not self.endpoints:
            return (line("No service runs whose job file says where it listens (run: port)."),)
        return (Table(ASKED if self.checked else COLUMNS, tuple(self._row(each) for each in self.endpoints)),)

    def document(self) -> object:
        """A list; `answer` is null where nobody asked."""
        return to_jsonable(self.endpoints)

    def _row(self, each: Endpoint) -> tuple[Text, ...]:
        usual: tuple[Text, ...] = (strong(each.run_id), each.offer, each.url)
        if not self.checked or each.answer is None:
            return usual
        answer = each.answer
        if answer.trouble:
            return (*usual, bad(answer.trouble), "")
        said = f"HTTP {answer.status}"
        return (*usual, good(said) if answer.ok else warn(said), fmt.duration(answer.seconds))
