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
        counts = (
            f"{fmt.plural(done.rows, 'row')}: {fmt.count(done.good)} good, {fmt.count(done.priceless)} without a price"
        )
        blocks: list[Block] = [
            line(good("imported "), strong(fmt.plural(done.offers, "offer")), f" from {done.file} as {self.name}"),
            line(f"{counts}, {fmt.count(done.bad_rows)} bad and skipped", indent=2),
        ]
        if done.ignored_columns:
            blocks.append(line(f"columns without a meaning here: {', '.join(done.ignored_columns)}", indent=2))
        if done.unknown_gpus:
            blocks.append(line(warn("unknown devices, refused by plans: "), ", ".join(done.unknown_gpus), indent=2))
        if done.bad:
            rows = tuple(
                (fmt.count(count), f"{done.file}:{first}", column, message)
                for column, message, count, first in done.faults()
            )
            columns = (right("faults"), left("the first at"), left("column"), left("fault"))
            blocks += [Line(), Title("Bad rows by kind (--json lists every one)"), Table(columns, rows)]
        return tuple(blocks)

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
            "ignored_columns": list(done.ignored_columns),
            "unknown_gpus": list(done.unknown_gpus),
            "bad": [{"line": bad.line, "column": bad.column, "message": bad.message} for bad in done.bad],
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
