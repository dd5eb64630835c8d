"""Break-even: renting against an API's price by the token, and owning against renting by the hour; arithmetic alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, expm1, inf, log1p

from orchestrator.domain.sizing import Assumption
from orchestrator.sizing.energy import HOURS_PER_YEAR
from orchestrator.sizing.parameters import Parameters

MONTHS_PER_YEAR = 12.0
_SLACK = 1e-9  # of a replica: what floating point may add to a whole number of them


def blended_usd(prompt_tokens: float, output_tokens: float, usd_in: float, usd_out: float) -> float:
    """Price per token of a request whose prompt and answer are priced apart, in the unit of the two prices."""
    return (prompt_tokens * usd_in + output_tokens * usd_out) / (prompt_tokens + output_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosting:
    """Running the model yourself on whole replicas: each is paid for by the hour, used or not."""

    usd_per_hour: float  # of one replica
    tokens_per_hour: float  # prompts and answers that one replica gets through on the average

    @property
    def usd_per_1m(self) -> float:
        """US dollars per 1e6 tokens when every replica has all the work it can take."""
        return self.usd_per_hour / self.tokens_per_hour * 1e6

    def replicas(self, tokens_per_hour: float) -> int:
        """How many whole replicas `tokens_per_hour` take; at least one."""
        return max(1, ceil(tokens_per_hour / self.tokens_per_hour - _SLACK))

    def cost_per_hour(self, tokens_per_hour: float) -> float:
        """US dollars per hour for `tokens_per_hour`."""
        return self.replicas(tokens_per_hour) * self.usd_per_hour


def api_usd_per_hour(tokens_per_hour: float, usd_per_1m: float) -> float:
    """US dollars per hour of an API that takes `usd_per_1m` for 1e6 tokens."""
    return tokens_per_hour * usd_per_1m / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Volumes:
    """Where running it yourself begins to cost less than an API, in tokens per hour; infinite where it never does.

    Replicas are whole: past `first` there can be a stretch, just after another one had to be added, in which the API is
    cheaper again. From `for_good` on there is none.
    """

    share_of_replica: float  # `first` over what one replica gets through; above 1: never
    first: float
    for_good: float


def against_api(hosting: Hosting, usd_per_1m: float) -> Volumes:
    """The break-even volumes of `hosting` against an API at `usd_per_1m` (more than 0) per 1e6 tokens.

    With H and r tokens per replica-hour and u = H/(P·r), n replicas break even at n·u·r, which is a volume
    that takes n of them where (n - 1)/n < u <= 1. The last such n is the last below 1/(1 - u).
    """
    share = hosting.usd_per_1m / usd_per_1m
    if share > 1.0:
        return Volumes(share_of_replica=share, first=inf, for_good=inf)
    first = share * hosting.tokens_per_hour
    last = max(1, ceil(1.0 / (1.0 - share) - _SLACK) - 1) if share < 1.0 else inf
    return Volumes(share_of_replica=share, first=first, for_good=last * first)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What a volume costs either way, in US dollars per hour."""

    tokens_per_hour: float
    replicas: int
    own_usd_per_hour: float
    api_usd_per_hour: float


def curve(hosting: Hosting, usd_per_1m: float, tokens_per_hour: Sequence[float]) -> tuple[Point, ...]:
    """Both costs at every volume of `tokens_per_hour`."""
    return tuple(
        Point(
            tokens_per_hour=volume,
            replicas=hosting.replicas(volume),
            own_usd_per_hour=hosting.cost_per_hour(volume),
            api_usd_per_hour=api_usd_per_hour(volume, usd_per_1m),
        )
        for volume in tokens_per_hour
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A device of one's own with its share of server, network, staff and building."""

    capex_usd: float
    years: float  # until it is written off, without a residual value
    opex_share: float  # of the capex per year: staff, space, repairs
    cost_of_capital: float  # per year
    kw: float  # draw of the device and its share of the host while it works
    pue: float
    usd_per_kwh: float

    @property
    def fixed_usd_per_year(self) -> float:
        """Depreciation with interest, and what runs on whether the device works or not."""
        return self.capex_usd * (annuity(self.cost_of_capital, self.years) + self.opex_share)

    @property
    def energy_usd_per_hour(self) -> float:
        """Electricity of an hour of work, cooling included; idle hours are counted as switched off."""
        return self.kw * self.pue * self.usd_per_kwh

    def usd_per_gpu_hour(self, utilisation: float) -> float:
        """US dollars per hour of work when the device works `utilisation` of all hours, in (0, 1]."""
        return self.fixed_usd_per_year / (HOURS_PER_YEAR * utilisation) + self.energy_usd_per_hour


def annuity(rate: float, years: float) -> float:
    """Share of a sum to pay every year so that it is paid back with interest after `years`; 1/years without interest.

    r / (1 - (1 + r)^-n), written so that it holds for small r.
    """
    return 1.0 / years if rate == 0 else rate / -expm1(-years * log1p(rate))


def own_from_hours(site: Site, rent_usd_per_hour: float) -> float:
    """Hours of work a year above which owning costs less than renting; more than a year has, or infinite: never."""
    saved = rent_usd_per_hour - site.energy_usd_per_hour
    return site.fixed_usd_per_year / saved if saved > 0 else inf


def payback_months(site: Site, rent_usd_per_hour: float, utilisation: float) -> float:
    """Months of work at `utilisation` after which the rent saved has paid the capex with interest; infinite: never.

    n = -ln(1 - C·i/s)/ln(1 + i) with s saved a month and i the monthly interest; C/s without interest.
    """
    hours = HOURS_PER_YEAR * utilisation / MONTHS_PER_YEAR
    running = site.capex_usd * site.opex_share / MONTHS_PER_YEAR
    saved = (rent_usd_per_hour - site.energy_usd_per_hour) * hours - running
    if saved <= 0:
        return inf
    interest = expm1(log1p(site.cost_of_capital) / MONTHS_PER_YEAR)
    owed = site.capex_usd * interest / saved
    if owed >= 1.0:
        return inf
    return -log1p(-owed) / log1p(interest) if interest > 0 else site.capex_usd / saved


def rent_usd_per_year(gpus: float, usd_per_hour: float, utilisation: float) -> float:
    """What a fleet of `gpus` devices costs a year when they are rented for the hours that they work."""
    return gpus * usd_per_hour * HOURS_PER_YEAR * utilisation


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two consumer cards against one data-center device of like compute: does their electricity eat the saving?"""

    card_usd: float
    cards_watts: float  # of both
    device_usd: float
    device_watts: float
    years: float
    usd_per_kwh: float

    @property
    def more_kwh_per_year(self) -> float:
        """Electricity that the cards take more, working all hours of a year."""
        return (self.cards_watts - self.device_watts) / 1e3 * HOURS_PER_YEAR

    @property
    def more_usd(self) -> float:
        """What that costs over all the years."""
        return self.more_kwh_per_year * self.years * self.usd_per_kwh

    @property
    def cards_total_usd(self) -> float:
        """Both cards with all their electricity."""
        return 2.0 * self.card_usd + self._electricity_usd(self.cards_watts)

    @property
    def device_total_usd(self) -> float:
        """The device with all its electricity."""
        return self.device_usd + self._electricity_usd(self.device_watts)

    def _electricity_usd(self, watts: float) -> float:
        return watts / 1e3 * HOURS_PER_YEAR * self.years * self.usd_per_kwh


def device_price(device: str, numbers: Parameters) -> Assumption | None:
    """What `device` costs to buy in US dollars by the bundled estimates, or None where there is none."""
    name = f"breakeven.device_usd.{device.casefold()}"
    return numbers.assumption(name) if name in numbers else None


def pair(numbers: Parameters, *, usd_per_kwh: float) -> Pair:
    """Two RTX 3080 Ti against one A100, as the source text has them."""
    return Pair(
        card_usd=numbers["breakeven.device_usd.rtx-3080-ti"],
        cards_watts=numbers["breakeven.pair_watts"],
        device_usd=numbers["breakeven.device_usd.a100-80gb"],
        device_watts=numbers["breakeven.single_watts"],
        years=numbers["breakeven.pair_years"],
        usd_per_kwh=usd_per_kwh,
    )
