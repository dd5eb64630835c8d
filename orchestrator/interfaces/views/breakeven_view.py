"""Break-even: an API by the token, rented GPUs, or GPUs of one's own; from which volume and how many hours on."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from orchestrator.domain.sizing import Assumption
from orchestrator.domain.workload import Workload
from orchestrator.interfaces.views import asked
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.page import (
    Block,
    Facts,
    Line,
    Page,
    Table,
    Text,
    Title,
    dim,
    left,
    line,
    right,
    strong,
)
from orchestrator.interfaces.views.size_figures import Quote
from orchestrator.sizing.breakeven import (
    Hosting,
    Pair,
    Point,
    Site,
    Volumes,
    against_api,
    curve,
    own_from_hours,
    payback_months,
    rent_usd_per_year,
)
from orchestrator.sizing.energy import HOURS_PER_YEAR
from orchestrator.spec.documents import to_jsonable

STEPS = (0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 5.5, 10.5, 25.5)  # of the break-even volume, shown as a curve
NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One assumption with its unit and the option that changes it."""

    option: str
    unit: str
    fact: Assumption


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosted:
    """The model on one kind of rented accelerator, every replica as busy as the utilisation says."""

    accelerator: str
    gpus: int  # of one replica
    quote: Quote
    full: Hosting  # with all the work it can take
    mean: Hosting  # at the utilisation
    owned_usd_per_1m: float | None = None  # on devices of one's own at the utilisation


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """One kind of accelerator bought, beside the same rented."""

    accelerator: str
    device_usd: Assumption
    site: Site
    quote: Quote
    gpus: int | None = None  # of the work, where there is some
    gpu_hours: float | None = None  # of finite work


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEvenReport:
    """What was compared, with every assumption; `hosted` is cheapest first, `api_usd_per_1m` None without an API."""

    workload: Workload | None
    hosted: tuple[Hosted, ...]
    owned: tuple[Owned, ...]
    unpriced: tuple[str, ...]  # accelerators without a purchase price
    api_usd_per_1m: Assumption | None
    tokens_per_request: float | None
    asked_tokens_per_hour: float | None  # the load that was asked for
    utilisation: float
    rule_usd_per_year: Assumption
    pair: Pair
    assumptions: tuple[Given, ...]
    notes: tuple[str, ...] = ()

    def page(self) -> Page:
        """API or rent, rent or own, the rules of thumb, the assumptions."""
        subject = f" of {self.workload.model.name}" if self.workload is not None else ""
        blocks: list[Block] = [Title(f"Break-even{subject}")]
        if self.workload is not None:
            facts = [("model", asked.model_line(self.workload.model)), ("work", asked.work_line(self.workload))]
            blocks.append(Facts(tuple(facts)))
        blocks += [line(dim(f"note: {note}"), indent=2) for note in self.notes]
        blocks.append(Line())
        blocks += [*self._hosting(), *self._owning(), *self._rules()]
        rows = tuple((given.option, _said(given)) for given in (*self.assumptions, *self._prices()))
        return (*blocks, Title("What it rests on, and the option that changes it"), Facts(rows))

    def document(self) -> dict[str, object]:
        """The same facts, unrounded; amounts that do not exist are null."""
        return {
            "workload": to_jsonable(self.workload),
            "api_usd_per_1m_tokens": to_jsonable(self.api_usd_per_1m),
            "utilisation": self.utilisation,
            "api_or_rent": [self._hosted_document(each) for each in self.hosted],
            "rent_or_own": [self._owned_document(each) for each in self.owned],
            "without_purchase_price": list(self.unpriced),
            "verdicts": [verdict for verdict in (self.cheapest(), self.api_verdict(), self.own_verdict()) if verdict],
            "rule_usd_per_year": to_jsonable(self.rule_usd_per_year),
            "two_cards_or_one": _pair_document(self.pair),
            "assumptions": [to_jsonable(given) for given in self.assumptions],
            "notes": list(self.notes),
        }

    def _prices(self) -> tuple[Given, ...]:
        return tuple(Given(option="--gpu-price", unit="USD", fact=each.device_usd) for each in self.owned)

    def api_verdict(self) -> str:
        """From which volume on to run it yourself; empty without an API's price or a service."""
        if self.api_usd_per_1m is None or not self.hosted:
            return ""
        best = self.hosted[0]
        volumes = against_api(best.mean, self.api_usd_per_1m.value)
        price = f"{fmt.usd(self.api_usd_per_1m.value)} per 1M tokens"
        if not isfinite(volumes.first):
            least = fmt.usd(best.mean.usd_per_1m)
            return (
                f"Call the API at any volume: on {best.accelerator}, the cheapest here, 1M tokens cost {least} at a"
                f" utilisation of {fmt.percent(self.utilisation)}, the API takes {price}."
            )
        said = (
            f"Run it yourself on {best.accelerator} above {self._volume(volumes.first)}; call the API at {price} below."
        )
        if volumes.for_good > volumes.first * (1 + 1e-9):
            said += (
                f" Just after a replica is added the API can be cheaper again, up to {self._volume(volumes.for_good)}."
            )
        return said

    def own_verdict(self) -> str:
        """From how many hours of work a year on to own; empty where no purchase price is known."""
        if not self.owned:
            return ""
        best = min(self.owned, key=lambda each: own_from_hours(each.site, each.quote.usd_per_gpu_hour))
        hours = own_from_hours(best.site, best.quote.usd_per_gpu_hour)
        rent = f"{fmt.usd(best.quote.usd_per_gpu_hour)}/GPU-h"
        if hours > HOURS_PER_YEAR:
            return f"Rent: at {rent} no {best.accelerator} works enough hours in a year to pay for itself."
        share = fmt.percent(hours / HOURS_PER_YEAR)
        above = f"{fmt.count(round(hours))} hours a year ({share} of all)"
        return f"Own {best.accelerator} above {above}; rent at {rent} below."

    def cheapest(self) -> str:
        """The cheapest of the three ways by the token, replicas being as busy as assumed; empty without a service."""
        ways = [(each.mean.usd_per_1m, f"rented {each.accelerator}") for each in self.hosted]
        ways += [(each.owned_usd_per_1m, f"own {each.accelerator}") for each in self.hosted if each.owned_usd_per_1m]
        if not ways:
            return ""
        if self.api_usd_per_1m is not None:
            ways.append((self.api_usd_per_1m.value, "the API"))
        best: dict[str, tuple[float, str]] = {}
        for usd, name in sorted(ways):
            best.setdefault(name.split(" ", maxsplit=1)[0], (usd, name))
        said = ", ".join(f"{name} {fmt.usd(usd)}" for usd, name in best.values())
        return f"Per 1M tokens at a utilisation of {fmt.percent(self.utilisation)}: {said}."

    def _volume(self, tokens_per_hour: float) -> str:
        day = f"{fmt.quantity(tokens_per_hour * 24.0)} tokens a day"
        if not self.tokens_per_request:
            return day
        return f"{day} ({tokens_per_hour / 3600.0 / self.tokens_per_request:,.3g} requests/s)"

    def _hosting(self) -> list[Block]:
        if not self.hosted:
            return []
        columns = (
            left("accelerator"),
            right("GPUs of a replica"),
            right("tokens a day, full"),
            right("per 1M tokens, full"),
            right(f"at {fmt.percent(self.utilisation)}"),
            right("on own GPUs"),
            *((right("break-even, tokens a day"), right("of a replica")) if self.api_usd_per_1m else ()),
            left("at"),
        )
        blocks: list[Block] = [Title("An API by the token, or rented GPUs")]
        blocks += [Table(columns, tuple(self._hosted_row(each) for each in self.hosted)), Line()]
        blocks.append(line(strong(self.cheapest()), indent=2))
        if self.api_usd_per_1m is None:
            hint = "--api-price, or --api-price-in and --api-price-out, give the volume from which on it pays"
            return [*blocks, line(dim(hint), indent=2), Line()]
        return [*blocks, line(strong(self.api_verdict()), indent=2), Line(), *self._curve()]

    def _hosted_row(self, each: Hosted) -> tuple[Text, ...]:
        volumes: tuple[Text, ...] = ()
        if self.api_usd_per_1m is not None:
            found = against_api(each.mean, self.api_usd_per_1m.value)
            first = fmt.quantity(found.first * 24.0) if isfinite(found.first) else NEVER
            volumes = (first, fmt.percent(found.share_of_replica))
        return (
            each.accelerator,
            fmt.count(each.gpus),
            fmt.quantity(each.full.tokens_per_hour * 24.0),
            fmt.usd(each.full.usd_per_1m),
            fmt.usd(each.mean.usd_per_1m),
            fmt.usd(each.owned_usd_per_1m) if each.owned_usd_per_1m is not None else fmt.UNKNOWN,
            *volumes,
            _quote(each.quote),
        )

    def _points(self, hosted: Hosted) -> tuple[Point, ...]:
        if self.api_usd_per_1m is None:
            return ()
        volumes = against_api(hosted.mean, self.api_usd_per_1m.value)
        middle = volumes.first if isfinite(volumes.first) else hosted.mean.tokens_per_hour
        wanted = {middle * step for step in STEPS}
        if self.asked_tokens_per_hour:
            wanted.add(self.asked_tokens_per_hour)
        return curve(hosted.mean, self.api_usd_per_1m.value, sorted(wanted))

    def _curve(self) -> list[Block]:
        best = self.hosted[0]
        rows = tuple(self._point_row(point) for point in self._points(best))
        columns = (
            right("tokens a day"),
            right("requests/s"),
            right("replicas"),
            right("rented, a month"),
            right("API, a month"),
            left("cheaper"),
        )
        return [Title(f"By volume, on {best.accelerator}"), Table(columns, rows), Line()]

    def _point_row(self, point: Point) -> tuple[Text, ...]:
        month = HOURS_PER_YEAR / 12.0
        per = self.tokens_per_request
        own, api = point.own_usd_per_hour, point.api_usd_per_hour
        cheaper = "equal" if abs(own - api) <= 1e-9 * api else ("rented" if own < api else "API")
        is_asked = point.tokens_per_hour == self.asked_tokens_per_hour
        return (
            fmt.quantity(point.tokens_per_hour * 24.0),
            f"{point.tokens_per_hour / 3600.0 / per:,.3g}" if per else fmt.UNKNOWN,
            fmt.count(point.replicas),
            fmt.usd_short(own * month),
            fmt.usd_short(api * month),
            f"{cheaper}, at the load asked for" if is_asked else cheaper,
        )

    def _owning(self) -> list[Block]:
        blocks: list[Block] = []
        if self.owned:
            columns = (
                left("accelerator"),
                right("to buy one"),
                right("with server and network"),
                right(f"own GPU-h at {fmt.percent(self.utilisation)}"),
                right("of it power"),
                right("rented GPU-h"),
                right("own above, hours a year"),
                right("of all"),
                right("paid back in"),
                *((right("job, owned"), right("job, rented")) if any(each.gpu_hours for each in self.owned) else ()),
            )
            blocks += [Title("Rented GPUs, or GPUs of one's own")]
            blocks += [Table(columns, tuple(self._owned_row(each) for each in self.owned)), Line()]
            blocks += [line(strong(self.own_verdict()), indent=2), Line()]
        if self.unpriced:
            some = ", ".join(self.unpriced[:6]) + (", ..." if len(self.unpriced) > 6 else "")
            said = f"no purchase price known for {some}: --accelerator NAME --gpu-price USD gives it"
            blocks += [line(dim(said), indent=2), Line()]
        return blocks

    def _owned_row(self, each: Owned) -> tuple[Text, ...]:
        rent = each.quote.usd_per_gpu_hour
        own = each.site.usd_per_gpu_hour(self.utilisation)
        hours = own_from_hours(each.site, rent)
        months = payback_months(each.site, rent, self.utilisation)
        job: tuple[Text, ...] = ()
        if any(other.gpu_hours for other in self.owned):
            work = each.gpu_hours or 0.0
            job = (fmt.usd_short(own * work), fmt.usd_short(rent * work)) if work else (fmt.UNKNOWN, fmt.UNKNOWN)
        return (
            each.accelerator,
            fmt.usd_short(each.device_usd.value),
            fmt.usd_short(each.site.capex_usd),
            fmt.usd(own),
            fmt.usd(each.site.energy_usd_per_hour),
            fmt.usd(rent),
            fmt.count(round(hours)) if hours <= HOURS_PER_YEAR else NEVER,
            fmt.percent(hours / HOURS_PER_YEAR) if isfinite(hours) else NEVER,
            f"{months:,.0f} months" if isfinite(months) else NEVER,
            *job,
        )

    def _rules(self) -> list[Block]:
        rows: list[tuple[str, Text]] = []
        rule = self.rule_usd_per_year
        for each in self.owned[:1]:
            rent = each.quote.usd_per_gpu_hour
            fleet = rule.value / rent_usd_per_year(1.0, rent, 1.0)
            said = f"{fmt.usd_short(rule.value)} a year rents {fmt.count(round(fleet))} {each.accelerator} all year"
            if each.gpus:
                spent = rent_usd_per_year(each.gpus, rent, 1.0)
                side = "above" if spent > rule.value else "below"
                said += f"; the {fmt.plural(each.gpus, 'GPU')} here would take {fmt.usd_short(spent)}, {side} it"
            rows.append(("a data center of one's own", f"{said} ({rule.origin})"))
        rows += _pair_facts(self.pair)
        return [Title("Two published rules of thumb, and their arithmetic"), Facts(tuple(rows)), Line()]

    def _hosted_document(self, each: Hosted) -> dict[str, object]:
        price = self.api_usd_per_1m.value if self.api_usd_per_1m is not None else None
        volumes: Volumes | None = against_api(each.mean, price) if price is not None else None
        return {
            "accelerator": each.accelerator,
            "gpus_per_replica": each.gpus,
            "quote": to_jsonable(each.quote),
            "usd_per_1m_tokens_full": each.full.usd_per_1m,
            "usd_per_1m_tokens": each.mean.usd_per_1m,
            "owned_usd_per_1m_tokens": each.owned_usd_per_1m,
            "tokens_per_hour_per_replica": each.mean.tokens_per_hour,
            "break_even_tokens_per_hour": volumes.first if volumes else None,
            "break_even_for_good_tokens_per_hour": volumes.for_good if volumes else None,
            "curve": [to_jsonable(point) for point in self._points(each)],
        }

    def _owned_document(self, each: Owned) -> dict[str, object]:
        rent = each.quote.usd_per_gpu_hour
        own = each.site.usd_per_gpu_hour(self.utilisation)
        return {
            "accelerator": each.accelerator,
            "device_usd": to_jsonable(each.device_usd),
            "capex_usd_per_gpu": each.site.capex_usd,
            "fixed_usd_per_gpu_year": each.site.fixed_usd_per_year,
            "energy_usd_per_gpu_hour": each.site.energy_usd_per_hour,
            "own_usd_per_gpu_hour": own,
            "rent": to_jsonable(each.quote),
            "own_above_hours_per_year": own_from_hours(each.site, rent),
            "payback_months": payback_months(each.site, rent, self.utilisation),
            "job_usd_owned": own * each.gpu_hours if each.gpu_hours else None,
            "job_usd_rented": rent * each.gpu_hours if each.gpu_hours else None,
        }


def _said(given: Given) -> str:
    return f"{given.fact.name} = {given.fact.value:,.6g} {given.unit} ({given.fact.origin})"


def _quote(quote: Quote) -> str:
    return f"{fmt.usd(quote.usd_per_gpu_hour)}/GPU-h ({quote.offer})"


def _pair_facts(pair: Pair) -> list[tuple[str, Text]]:
    years = f"{fmt.count(pair.years)} years"
    kwh, usd = fmt.count(round(pair.more_kwh_per_year)), fmt.usd(pair.more_usd)
    gap = f"{fmt.watts(pair.cards_watts)} against {fmt.watts(pair.device_watts)}"
    ratio = 1.0 + pair.more_usd / pair.card_usd
    both = 1.0 + pair.more_usd / (2.0 * pair.card_usd)
    told = (
        f"{gap} at {fmt.usd(pair.usd_per_kwh)}/kWh: {kwh} kWh more a year, {usd} more in {years}: {ratio:.2f} times the"
        f" price of one card, {both:.2f} times that of the two"
    )
    cheaper = "the cards stay" if pair.cards_total_usd < pair.device_total_usd else "their power makes the cards"
    total = (
        f"in {years} {fmt.usd_short(pair.cards_total_usd)} for both cards and all their power,"
        f" {fmt.usd_short(pair.device_total_usd)} for the A100 and its: {cheaper}"
        f" {'cheaper' if pair.cards_total_usd < pair.device_total_usd else 'dearer'}, with 2 x 12 GB and no fast link"
        " against 80 GB"
    )
    return [("two RTX 3080 Ti or one A100", told), ("", total)]


def _pair_document(pair: Pair) -> dict[str, object]:
    return {
        "more_kwh_per_year": pair.more_kwh_per_year,
        "more_usd": pair.more_usd,
        "years": pair.years,
        "usd_per_kwh": pair.usd_per_kwh,
        "price_ratio_one_card": 1.0 + pair.more_usd / pair.card_usd,
        "price_ratio_both_cards": 1.0 + pair.more_usd / (2.0 * pair.card_usd),
        "cards_total_usd": pair.cards_total_usd,
        "device_total_usd": pair.device_total_usd,
    }
