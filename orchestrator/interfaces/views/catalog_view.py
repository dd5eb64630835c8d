"""What an import did, line by line, and what is imported."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orchestrator.catalog.importer import ImportReport
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.page import Block, Line, Page, Table, Title, good, left, line, right, strong, warn


@dataclass(frozen=True, slots=True)
class ImportedReport:
    """An import and the name it is stored under."""

    done: ImportReport
    name: str

    def page(self) -> Page:
        """Counts, faults with their lines, devices nobody knows."""
        done = self.done
        left_out = sum(count for _, count in done.left_out)
        counts = [f"{fmt.count(done.good)} good", f"{fmt.count(done.priceless)} without a price"]
        counts += [f"{fmt.count(left_out)} left out"] if left_out else []
        rows = f"{fmt.plural(done.rows, 'row')}: {', '.join(counts)}, {fmt.count(done.bad_rows)} bad and skipped"
        blocks: list[Block] = [
            line(good("imported "), strong(fmt.plural(done.offers, "offer")), f" from {done.file} as {self.name}"),
            line(f"read as {' and '.join(done.formats)}{self._whose()}", indent=2),
            line(rows, indent=2),
        ]
        blocks += [line(f"left out: {fmt.count(count)} {reason}", indent=2) for reason, count in done.left_out]
        if done.file_dated is not None:
            dated = f"prices are dated {done.file_dated:%Y-%m-%d} by the file; --as-of gives a better date"
            blocks.append(line(dated, indent=2))
        if done.passed_over:
            blocks.append(line(f"passed over: {', '.join(done.passed_over)}", indent=2))
        if done.ignored_columns:
            blocks.append(line(f"columns without a meaning here: {', '.join(done.ignored_columns)}", indent=2))
        if done.unknown_gpus:
            blocks.append(line(warn("unknown devices, refused by plans: "), ", ".join(done.unknown_gpus), indent=2))
        if done.bad:
            faults = tuple(
                (fmt.count(count), f"{first.file or done.file}:{first.line}", first.column, first.message)
                for first, count in done.faults()
            )
            columns = (right("faults"), left("the first at"), left("column"), left("fault"))
            blocks += [Line(), Title("Bad rows by kind (--json lists every one)"), Table(columns, faults)]
        return tuple(blocks)

    def _whose(self) -> str:
        return f" of {', '.join(self.done.providers)}" if self.done.providers else ""

    def document(self) -> object:
        """The counts and every fault."""
        done = self.done
        return {
            "name": self.name,
            "file": done.file,
            "rows": done.rows,
            "good": done.good,
            "priceless": done.priceless,
            "bad_rows": done.bad_rows,
            "offers": done.offers,
            "formats": list(done.formats),
            "providers": list(done.providers),
            "left_out": dict(done.left_out),
            "passed_over": list(done.passed_over),
            "file_dated": done.file_dated.isoformat() if done.file_dated else None,
            "ignored_columns": list(done.ignored_columns),
            "unknown_gpus": list(done.unknown_gpus),
            "bad": [
                {"file": bad.file or done.file, "line": bad.line, "column": bad.column, "message": bad.message}
                for bad in done.bad
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One imported book."""

    name: str
    offers: int
    providers: tuple[str, ...]
    oldest: datetime | None
    newest: datetime | None


@dataclass(frozen=True, slots=True)
class ImportsReport:
    """All imported books."""

    imports: tuple[Import, ...]
    now: datetime

    def page(self) -> Page:
        """A line per book."""
        if not self.imports:
            return (line("Nothing is imported. Import offers with: isoflop catalog import FILE"),)
        rows = tuple(
            (
                strong(each.name),
                fmt.count(each.offers),
                ", ".join(each.providers),
                fmt.age(each.newest, self.now) if each.newest else "",
                fmt.age(each.oldest, self.now) if each.oldest else "",
            )
            for each in self.imports
        )
        columns = (left("name"), right("offers"), left("providers"), right("newest price"), right("oldest price"))
        return (Table(columns, rows),)

    def document(self) -> object:
        """A list of books."""
        return [
            {
                "name": each.name,
                "offers": each.offers,
                "providers": list(each.providers),
                "oldest": each.oldest.isoformat() if each.oldest else None,
                "newest": each.newest.isoformat() if each.newest else None,
            }
            for each in self.imports
        ]
