"""Offers as a list: price by the node and by the GPU, stock, and who said so when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orchestrator.domain.offer import Offer
from orchestrator.domain.snapshot import Gap
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.page import Block, Line, Page, Table, Text, bad, dim, left, line, right, strong, warn
from orchestrator.spec.documents import to_jsonable

COLUMNS = (
    left("provider"),
    left("region"),
    left("instance type"),
    left("GPUs"),
    left("billing"),
    right("per hour"),
    right("per GPU-hour"),
    right("nodes"),
    right("price age"),
    left("source"),
)
AGE = next(place for place, column in enumerate(COLUMNS) if column.title == "price age")
ENDS = right("ends after")  # shown where any offer says so


@dataclass(frozen=True, slots=True, kw_only=True)
class OffersReport:
    """The offers to show, in order, of all that match; `hints` say what may have been meant where none does."""

    offers: tuple[Offer, ...]
    matching: int
    market: int
    now: datetime
    max_price_age_s: float
    gaps: tuple[Gap, ...] = ()
    hints: tuple[str, ...] = ()

    def page(self) -> Page:
        """A row per offer and a count."""
        blocks: list[Block] = []
        if self.offers:
            ends = any(offer.max_lease_s is not None for offer in self.offers)
            columns = (*COLUMNS[:AGE], ENDS, *COLUMNS[AGE:]) if ends else COLUMNS
            blocks += [Table(columns, tuple(self._row(offer, ends=ends) for offer in self.offers)), Line()]
        blocks += [line(self._count())]
        old = sum(self._old(offer) for offer in self.offers)
        if old:
            limit = fmt.duration(self.max_price_age_s)
            blocks.append(line(warn(f"{fmt.plural(old, 'price')} marked OLD: observed more than {limit} ago")))
        blocks += [line(hint) for hint in self.hints]
        blocks += [line(warn("not seen: "), f"{gap.provider}: {gap.detail}") for gap in self.gaps]
        return tuple(blocks)

    def document(self) -> object:
        """The same offers, unrounded."""
        return {
            "market": self.market,
            "matching": self.matching,
            "offers": [self._fields(offer) for offer in self.offers],
            "gaps": to_jsonable(self.gaps),
            "hints": list(self.hints),
        }

    def _fields(self, offer: Offer) -> dict[str, object]:
        fields = to_jsonable(offer)
        if not isinstance(fields, dict):
            raise TypeError("an offer is an object in JSON")
        return {
            **fields,
            "usd_per_gpu_hour": offer.usd_per_hour / offer.gpus if offer.gpus else None,
            "price_age_s": (self.now - offer.observed_at).total_seconds(),
            "price_old": self._old(offer),
        }

    def _count(self) -> str:
        shown, matching, market = len(self.offers), self.matching, self.market
        if shown == matching:
            return f"{fmt.plural(matching, 'offer')} of {fmt.count(market)} in the market."
        of = f"{fmt.count(shown)} of {fmt.count(matching)} that match, of {fmt.count(market)} in the market"
        return f"{of}; --limit 0 shows all."

    def _old(self, offer: Offer) -> bool:
        return (self.now - offer.observed_at).total_seconds() > self.max_price_age_s

    def _row(self, offer: Offer, *, ends: bool) -> tuple[Text, ...]:
        age = fmt.age(offer.observed_at, self.now)
        return (
            offer.provider,
            offer.place,
            strong(offer.instance_type),
            f"{fmt.count(offer.gpus)}x {offer.accelerator}",
            offer.billing.value,
            fmt.usd(offer.usd_per_hour),
            fmt.usd(offer.usd_per_hour / offer.gpus) if offer.gpus else "",
            _stock(offer.available, offer.quota_nodes),
            *([fmt.duration(offer.max_lease_s) if offer.max_lease_s is not None else ""] if ends else []),
            warn(f"{age} OLD") if self._old(offer) else age,
            dim(offer.source),
        )


def _stock(available: int | None, quota: int | None) -> Text:
    """What is on sale, and the quota where it allows less."""
    if available == 0:
        return bad("sold out")
    if quota is not None and (available is None or quota < available):
        allowed = f"quota {fmt.count(quota)}"
        return allowed if available is None else f"{fmt.count(available)}, {allowed}"
    return dim("unknown") if available is None else fmt.count(available)
