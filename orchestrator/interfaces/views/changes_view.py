"""What a refresh did, and what changed in the prices since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.catalog.changes import Change, Changes, Kind
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.page import (
    Block,
    Line,
    Page,
    Table,
    Text,
    Title,
    bad,
    code,
    dim,
    good,
    left,
    line,
    right,
    strong,
    trimmed,
    warn,
)
from orchestrator.inventory.refresh import Outcome, Progress, Stage

SHOWN = 20  # changes of one source
HINT = "isoflop catalog diff"
PUBLIC = ("--provider azure", "--from gpuhunt")  # what needs no account
KINDS = tuple(Kind)
OUTCOMES = (left("provider"), left("answer"), right("offers"), right("regions"), *(right(kind) for kind in KINDS))
CHANGES = (
    left("provider"),
    left("region"),
    left("instance type"),
    left("GPUs"),
    left("billing"),
    left("change"),
    right("before"),
    right("now"),
)


def progress_page(standing: Sequence[Progress]) -> Page:
    """How far asking every provider has got."""
    rows = tuple((strong(each.provider), _stage(each), dim(each.detail)) for each in standing)
    ended = sum(each.stage in (Stage.DONE, Stage.FAILED) for each in standing)
    return (line(f"asking the providers: {ended} of {len(standing)}"), Table((left(""), left(""), left("")), rows))


def _stage(each: Progress) -> Text:
    if each.stage is Stage.DONE:
        return good(fmt.plural(each.offers, "offer"))
    return bad(each.stage) if each.stage is Stage.FAILED else warn(each.stage)


@dataclass(frozen=True, slots=True)
class RefreshReport:
    """What came of asking every provider; `took_s` is how long it took."""

    outcomes: tuple[Outcome, ...]
    took_s: float

    def page(self) -> Page:
        """A row per provider, then what is missing."""
        rows = tuple(_outcome(outcome) for outcome in self.outcomes)
        blocks: list[Block] = [Table(OUTCOMES, rows), Line()]
        for outcome in self.outcomes:
            if outcome.problem:
                blocks.append(line(bad(f"{outcome.provider}: "), outcome.problem))
            blocks += [line(warn(f"{outcome.provider}: "), gap) for gap in outcome.gaps]
        told = [outcome.told for outcome in self.outcomes if outcome.told is not None]
        offers = fmt.plural(sum(len(each.book) for each in told), "offer")
        said = f"{offers} of {fmt.plural(len(told), 'provider')} in {fmt.duration(self.took_s)}; what changed: "
        if told:
            blocks.append(line(said, code(HINT)))
        elif not any(outcome.problem for outcome in self.outcomes):
            blocks.append(line("No provider with prices is on: turn one on in the settings, or fetch what is public:"))
            blocks += [line(code(f"isoflop catalog refresh {how}"), indent=2) for how in PUBLIC]
        return trimmed(blocks)

    def document(self) -> object:
        """The same by provider, with every gap."""
        return {
            "took_s": self.took_s,
            "providers": [_outcome_fields(outcome) for outcome in self.outcomes],
        }


def _outcome(outcome: Outcome) -> tuple[Text, ...]:
    told = outcome.told
    if told is None:
        answer: Text = bad("failed") if outcome.problem else dim("machines of one's own")
        return (strong(outcome.provider), answer, "", "", *("" for _ in KINDS))
    answer = warn("with gaps") if outcome.gaps else good("complete")
    regions = len(told.book.region.compact().vocab)
    return (strong(outcome.provider), answer, fmt.count(len(told.book)), fmt.count(regions), *_counted(outcome.changes))


def _counted(changes: Changes | None) -> tuple[Text, ...]:
    if changes is None or changes.since is None:
        return tuple("" for _ in KINDS)
    numbers = [sum(change.kind is kind for change in changes.changes) for kind in KINDS]
    return tuple(fmt.count(number) if number else dim("-") for number in numbers)


def _outcome_fields(outcome: Outcome) -> dict[str, object]:
    told, changes = outcome.told, outcome.changes
    counts = {kind.value: sum(each.kind is kind for each in changes.changes) for kind in KINDS} if changes else None
    return {
        "provider": outcome.provider,
        "answered": told is not None,
        "problem": outcome.problem,
        "gaps": list(outcome.gaps),
        "offers": len(told.book) if told is not None else None,
        "regions": list(told.book.region.compact().vocab) if told is not None else [],
        "refreshed_at": told.at.isoformat() if told is not None else None,
        "complete": told.everything if told is not None else False,
        "changes": counts,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangesReport:
    """What changed in every source of prices; `limit` changes of each are shown, 0 shows all."""

    sources: tuple[Changes, ...]
    limit: int = SHOWN

    def page(self) -> Page:
        """For every source its counts by provider and its biggest changes."""
        if not self.sources:
            return (
                line("No prices are kept yet: ", code("isoflop catalog refresh"), " or ", code("import"), " some."),
            )
        blocks: list[Block] = []
        for changes in self.sources:
            blocks += [*self._source(changes), Line()]
        return trimmed(blocks)

    def document(self) -> object:
        """Every change of every source."""
        return [
            {
                "source": changes.source,
                "since": changes.since.isoformat() if changes.since else None,
                "until": changes.until.isoformat(),
                "offers": changes.offers,
                "counts": {
                    provider: {kind.value: count for kind, count in counts.items()}
                    for provider, counts in changes.counts().items()
                },
                "changes": [_fields(change) for change in changes.changes],
            }
            for changes in self.sources
        ]

    def _source(self, changes: Changes) -> list[Block]:
        name = _name(changes.source)
        if changes.since is None:
            first = f"{name}: first looked at {fmt.moment(changes.until)}, {fmt.plural(changes.offers, 'offer')}"
            return [Title(first), line("Nothing to compare with yet.", indent=2)]
        blocks: list[Block] = [
            Title(f"{name}: {fmt.moment(changes.since)} to {fmt.moment(changes.until)}, {_offers(changes)}")
        ]
        if not changes.changes:
            return [*blocks, line("Nothing changed.", indent=2)]
        counts = changes.counts()
        columns = (left("provider"), *(right(kind) for kind in KINDS))
        rows = tuple(
            (strong(provider), *(fmt.count(found[kind]) if kind in found else dim("-") for kind in KINDS))
            for provider, found in counts.items()
        )
        shown = changes.changes[: self.limit] if self.limit else changes.changes
        blocks += [Table(columns, rows), Line(), Table(CHANGES, tuple(_row(change) for change in shown))]
        if len(shown) < len(changes.changes):
            rest = f"{fmt.count(len(shown))} of {fmt.plural(len(changes.changes), 'change')}; --limit 0 shows all."
            blocks.append(line(rest, indent=2))
        return blocks


def _offers(changes: Changes) -> str:
    return f"{fmt.plural(changes.offers, 'offer')} now"


def _name(source: str) -> str:
    kind, _, name = source.partition("-")
    return f"{name}, refreshed" if kind == "live" else f"{name}, imported"


def _row(change: Change) -> tuple[Text, ...]:
    place = f"{change.region}/{change.zone}" if change.zone and change.zone != change.region else change.region
    return (
        change.provider,
        place,
        strong(change.instance_type),
        f"{fmt.count(change.gpus)}x {change.accelerator}",
        change.billing,
        _what(change),
        fmt.usd(change.before) if change.before is not None else "",
        fmt.usd(change.now) if change.now is not None else "",
    )


def _what(change: Change) -> Text:
    if change.kind in (Kind.UP, Kind.DOWN):
        said = fmt.percent_change(change.percent or 0.0)
        return warn(said) if change.kind is Kind.UP else good(said)
    return {Kind.SOLD_OUT: bad, Kind.GONE: bad}.get(change.kind, good)(change.kind.value)


def _fields(change: Change) -> dict[str, object]:
    return {
        "kind": change.kind.value,
        "provider": change.provider,
        "region": change.region,
        "zone": change.zone,
        "instance_type": change.instance_type,
        "billing": change.billing,
        "accelerator": change.accelerator,
        "gpus": change.gpus,
        "usd_per_hour_before": change.before,
        "usd_per_hour": change.now,
        "percent": change.percent,
    }
