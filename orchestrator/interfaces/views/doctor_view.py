"""The findings of `isoflop doctor`."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.checkup import Check
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.page import Line, Page, Table, Text, bad, good, left, line, strong


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """What was looked at and how it is."""

    checks: tuple[Check, ...]

    @property
    def broken(self) -> tuple[Check, ...]:
        """Those that need mending."""
        return tuple(check for check in self.checks if not check.ok)

    def page(self) -> Page:
        """A line for every check and a verdict."""
        rows: tuple[tuple[Text, ...], ...] = tuple(
            (good("ok") if check.ok else bad("BROKEN"), strong(check.subject), check.detail) for check in self.checks
        )
        verdict = (
            bad(f"{fmt.plural(len(self.broken), 'thing')} to mend: {', '.join(each.subject for each in self.broken)}")
            if self.broken
            else good("Everything works.")
        )
        return (Table((left(""), left("what"), left("how it is")), rows), Line(), line(verdict))

    def document(self) -> object:
        """The checks and whether all is well."""
        checks = [{"subject": check.subject, "ok": check.ok, "detail": check.detail} for check in self.checks]
        return {"ok": not self.broken, "checks": checks}
