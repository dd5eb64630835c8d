"""What all regions sell, and what is remembered between two looks: regions, types, placement scores."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from orchestrator.domain.contracts import Clock, Survey
from orchestrator.domain.errors import ProviderError, TransientError
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.kit import fanout
from orchestrator.kit.documents import readable
from orchestrator.kit.facts import Facts
from orchestrator.kit.money import Rates
from providers.aws import offers
from providers.aws.client import Client, settled
from providers.aws.offers import Advice, Region
from providers.aws.refusals import NAME
from providers.aws.settings import AwsSettings
from providers.aws.survey import Surveyor
from providers.aws.translate import Type

REGIONS_FOR = timedelta(hours=1)
TYPES_FOR = timedelta(hours=24)
UNKNOWN_TYPE = frozenset({"InvalidInstanceType", "InvalidParameterValue"})
Scores = Mapping[tuple[str, str], float]


class Market:
    """Looks at all regions at once. Safe to use from many threads."""

    def __init__(
        self,
        client: Client,
        settings: AwsSettings,
        rates: Rates,
        clock: Clock,
        hazards: Mapping[tuple[str, str], int],
    ) -> None:
        self._client, self._settings, self._clock, self._hazards = client, settings, clock, hazards
        self._surveyor, self._facts = Surveyor(client, settings, rates), Facts(NAME)
        self._lock = threading.Lock()
        self._regions: tuple[datetime, tuple[str, ...]] | None = None
        self._types: dict[str, tuple[datetime, Type]] = {}
        self._scores: dict[str, tuple[datetime, Scores]] = {}

    def regions(self) -> tuple[str, ...]:
        """The regions that are bought in: enabled for the account and, where the settings name some, among those.

        Raises: AuthError, TransientError.
        """
        wanted = self._settings.regions
        return tuple(name for name in self.enabled() if not wanted or name in wanted)

    def enabled(self) -> tuple[str, ...]:
        """Every region that is enabled for the account. Raises: AuthError, TransientError."""
        now = self._clock.now()
        known = self._regions
        if known is not None and now - known[0] < REGIONS_FOR:
            return known[1]
        answer = self._client.read("ec2", self._settings.home, "DescribeRegions")
        if answer.raw("Regions") is None:
            raise TransientError(NAME, f"{answer.place}: a success without Regions", 5.0)
        with readable(NAME, answer.place):
            found = tuple(row.text("RegionName") for row in answer.each("Regions"))
        self._regions = (now, found)
        return found

    def survey(self) -> Survey:
        """Offers of the regions that answered, and what is missing. Raises: AuthError, TransientError if none did."""
        now, regions = self._clock.now(), self.regions()
        gaps = [f"{name}: the account has no such region" for name in self._settings.regions if name not in regions]
        answers, failed = fanout.ask(regions, lambda name: self._surveyor.region(name, now))
        if failed and not answers:
            raise next(iter(failed.values()))
        gaps += fanout.told(failed)
        types, untold = self._described(answers, now)
        gaps += untold
        scores, unscored = self._scored(types, regions, now)
        gaps += unscored
        advice = Advice(types, scores, self._hazards)
        found: list[Offer] = []
        for name, answer in answers.items():
            made, missing = offers.of_region(name, answer, advice, self._facts, now)
            found += made
            gaps += missing
        strange = {kind.accelerator for kind in types.values() if not kind.known}
        if strange:
            gaps.append(f"devices that we hold no facts about: {offers.examples(strange)}")
        return Survey(OfferBook.of(found), tuple(gaps))

    def type_of(self, region: str, name: str) -> Type | None:
        """Facts of an instance type; None where `region` has none of that name. Raises: AuthError, TransientError."""
        known = self._types.get(name)
        if known is not None and self._clock.now() - known[0] < TYPES_FOR:
            return known[1]
        found = settled(lambda: self._surveyor.types(region, [name], []), UNKNOWN_TYPE, dict[str, Type]())
        self._remember(found, self._clock.now())
        return found.get(name)

    def repriced(self, offer: Offer) -> Offer:
        """`offer` at the price of now, where AWS tells it. Raises: AuthError."""
        try:
            if offer.billing is Billing.SPOT:
                price = self._surveyor.spot_price(offer.region, offer.zone, offer.instance_type, self._clock.now())
            elif offer.billing is Billing.ON_DEMAND:
                price = self._surveyor.list_price(offer.region, offer.instance_type)
            else:
                price = None
        except TransientError:
            price = None  # what was offered stands: a price list out of order keeps nobody from buying
        return offer if price is None else replace(offer, usd_per_hour=price)

    # Types

    def _described(self, answers: Mapping[str, Region], now: datetime) -> tuple[dict[str, Type], list[str]]:
        """Facts of every type that is offered: a type is the same everywhere, so few regions are asked."""
        with self._lock:
            known = {name: kind for name, (at, kind) in self._types.items() if now - at < TYPES_FOR}
        gaps: list[str] = []
        unread: list[str] = []
        asked: set[str] = set(known)
        while True:
            left = {name: sorted(answer.types - asked) for name, answer in answers.items()}
            region = max(left, key=lambda name: len(left[name]), default="")
            if not region or not left[region]:
                break
            try:
                found = self._surveyor.types(region, left[region], unread)
            except ProviderError as error:
                gaps.append(f"{len(left[region])} instance types are not described by {region}: {error.detail}")
                found = {}
            asked.update(left[region])
            known |= found
            self._remember(found, now)
        if unread:
            gaps.append(f"{len(unread)} instance types are described in a way that cannot be read: {unread[0]}")
        return known, gaps

    def _remember(self, found: Mapping[str, Type], now: datetime) -> None:
        with self._lock:
            self._types |= {name: (now, kind) for name, kind in found.items()}

    # Placement scores

    def _scored(
        self, types: Mapping[str, Type], regions: Sequence[str], now: datetime
    ) -> tuple[dict[tuple[str, str, str], float], list[str]]:
        wanted = [name for name in self._settings.placement_scores if name in types and "spot" in types[name].usages]
        fresh_for = timedelta(hours=self._settings.placement_scores_age_h)
        stale = [name for name in wanted if name not in self._scores or now - self._scores[name][0] >= fresh_for]
        found, failed = fanout.ask(stale, lambda name: self._surveyor.scores(name, regions))
        with self._lock:
            self._scores |= {name: (now, scores) for name, scores in found.items()}
        gaps = []
        if failed:
            first = next(iter(failed.values()))
            gaps.append(f"placement scores of {offers.examples(set(failed))} are unknown: {first.detail}")
        held = {name: self._scores[name][1] for name in wanted if name in self._scores}
        return {(name, *place): score for name, scores in held.items() for place, score in scores.items()}, gaps
