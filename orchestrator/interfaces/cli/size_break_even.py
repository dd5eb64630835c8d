"""`isoflop size --break-even`: from options and sizings to what is compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from orchestrator.catalog.lookup import Chosen
from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.errors import UserError
from orchestrator.domain.offer import Tier
from orchestrator.domain.reason import Reason
from orchestrator.domain.sizing import Assumption, FiniteWork, Service, Sizing
from orchestrator.domain.workload import BatchInference, Inference, Population, Workload
from orchestrator.interfaces.cli import session, size_asked
from orchestrator.interfaces.views.breakeven_view import BreakEvenReport, Given, Hosted, Owned
from orchestrator.interfaces.views.size_figures import Prices
from orchestrator.sizing import breakeven, energy
from orchestrator.sizing.parameters import Parameters
from orchestrator.spec import quantity

SHOWN = 8  # accelerators that the model is hosted on
FULL_LOAD_PER_S = 1e6  # requests: so many replicas that each is as full as memory and latency limits allow


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The options of --break-even; None is not given."""

    api_price: str | None = None
    api_price_in: str | None = None
    api_price_out: str | None = None
    utilisation: str | None = None
    gpu_price: str | None = None
    server_factor: float | None = None
    years: float | None = None
    power_price: str | None = None
    opex_share: str | None = None
    cost_of_capital: str | None = None
    pue: float | None = None

    def given(self) -> list[str]:
        """The options used that mean nothing without --break-even, as they are typed."""
        names = [field.name for field in fields(self) if field.name != "pue"]
        return [f"--{name.replace('_', '-')}" for name in names if getattr(self, name) is not None]


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Every assumption by its option, stated or bundled."""

    facts: Mapping[str, Given]

    def __getitem__(self, option: str) -> float:
        return self.facts[option].fact.value


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """What every accelerator's row is worked out from."""

    workload: Workload | None
    sizings: Mapping[str, Sizing | Reason]  # of the load asked for
    prices: Mapping[str, Prices]
    terms: Terms
    numbers: _Numbers
    table: Parameters
    gpus: int | None


def report(
    workload: Workload | None,
    chosen: Chosen,
    prices: Mapping[str, Prices],
    terms: Terms,
    table: Parameters,
    *,
    gpus: int | None,
    named: bool,
) -> BreakEvenReport:
    """The comparison; `named` says that the user named the accelerators. Raises: UserError for what does not fit."""
    if terms.gpu_price is not None and not named:
        raise UserError("--gpu-price is of one accelerator: name it with --accelerator")
    if workload is None and gpus is not None:
        raise UserError("--gpus needs work to share out: give --tokens N or a job file")
    case = _Case(
        workload=workload,
        sizings=size_asked.sized(workload, chosen.devices, table, gpus),
        prices=prices,
        terms=terms,
        numbers=_numbers(terms, table),
        table=table,
        gpus=gpus,
    )
    api = _api(terms, workload)
    fitting = [device for device in chosen.devices if not isinstance(case.sizings.get(device.name), Reason)]
    if not fitting:
        raise UserError(f"the work runs on none of the accelerators; {_why(case.sizings)}")
    hosted, owned = _hosted(case, fitting), [each for device in fitting if (each := _owned(case, device))]
    if not hosted and not owned:
        raise UserError("nothing to compare: name an accelerator that is sold, or give its prices")
    unpriced = tuple(device.name for device in fitting if _device_usd(case, device) is None)
    return BreakEvenReport(
        workload=workload,
        hosted=tuple(hosted[:SHOWN]),
        owned=tuple(owned),
        unpriced=unpriced if named or not owned else (),
        api_usd_per_1m=api,
        tokens_per_request=_tokens_per_request(workload),
        asked_tokens_per_hour=_asked_tokens_per_hour(workload),
        utilisation=case.numbers["--utilisation"],
        rule_usd_per_year=table.assumption("breakeven.own_from_usd_per_year"),
        pair=breakeven.pair(table, usd_per_kwh=case.numbers["--power-price"]),
        assumptions=tuple(case.numbers.facts.values()),
        notes=(*chosen.notes, "spot offers are left out: what runs for months must not be reclaimed"),
    )


def _numbers(terms: Terms, table: Parameters) -> _Numbers:
    """The assumptions in the order they are shown. Raises: UserError for a share or price of nothing."""
    stated = {
        "--utilisation": _read("--utilisation", terms.utilisation, quantity.ratio),
        "--years": terms.years,
        "--power-price": _read("--power-price", terms.power_price, quantity.money_usd),
        "--server-factor": terms.server_factor,
        "--opex-share": _read("--opex-share", terms.opex_share, quantity.ratio, zero=True),
        "--cost-of-capital": _read("--cost-of-capital", terms.cost_of_capital, quantity.ratio, zero=True),
        "--pue": terms.pue,
    }
    names = {
        "--utilisation": "breakeven.utilisation",
        "--years": "breakeven.years",
        "--power-price": "breakeven.usd_per_kwh",
        "--server-factor": "breakeven.server_factor",
        "--opex-share": "breakeven.opex_share",
        "--cost-of-capital": "breakeven.cost_of_capital",
        "--pue": f"energy.pue.{Tier.CLOUD.value}",
    }
    facts = {}
    for option, name in names.items():
        row, value = table.row(name), stated[option]
        fact = row.assumption() if value is None else Assumption(name, value, "as given")
        facts[option] = Given(option=option, unit=row.unit, fact=fact)
    return _Numbers(facts)


def _read(option: str, text: str | None, reader: Callable[[str], float], *, zero: bool = False) -> float | None:
    value = session.read_option(option, text, reader)
    if value == 0 and not zero:
        raise UserError(f"{option} 0: it has to be more than nothing")
    return value


def _api(terms: Terms, workload: Workload | None) -> Assumption | None:
    """The API's price per 1e6 tokens of this mix of prompts and answers, and how it comes about."""
    whole = _read("--api-price", terms.api_price, quantity.money_usd)
    prompt = _read("--api-price-in", terms.api_price_in, quantity.money_usd, zero=True)
    answer = _read("--api-price-out", terms.api_price_out, quantity.money_usd)
    if whole is None and prompt is None and answer is None:
        return None
    if not isinstance(workload, Inference | BatchInference):
        raise UserError("an API answers requests: its price needs --serve RATE, or a job that is inference")
    if whole is not None:
        if prompt is not None or answer is not None:
            raise UserError("--api-price is for prompts and answers alike: leave --api-price-in and -out away")
        return Assumption("api_usd_per_1m_tokens", whole, "--api-price, prompts and answers alike")
    if prompt is None or answer is None:
        raise UserError("--api-price-in and --api-price-out belong together")
    p, o = float(workload.prompt_tokens), float(workload.output_tokens)
    origin = f"${prompt:g} in and ${answer:g} out, {p:,.0f} prompt and {o:,.0f} output tokens a request"
    return Assumption("api_usd_per_1m_tokens", breakeven.blended_usd(p, o, prompt, answer), origin)


def _full_load(workload: Workload | None) -> Workload | None:
    """The same service with so much to do that every replica is full."""
    if not isinstance(workload, Inference):
        return workload
    users = (Population(size_asked.ANYWHERE, FULL_LOAD_PER_S),)
    return replace(workload, users=users, peak_over_mean=1.0)


def _hosted(case: _Case, devices: Sequence[Accelerator]) -> list[Hosted]:
    """The accelerators that are sold, cheapest by the token first; none where the work is no inference."""
    if not isinstance(case.workload, Inference | BatchInference):
        return []
    utilisation = case.numbers["--utilisation"]
    full_load = size_asked.sized(_full_load(case.workload), devices, case.table)
    found = []
    for device in devices:
        sizing = full_load[device.name]
        tokens_per_h = _tokens_per_hour(case.workload, sizing) if isinstance(sizing, Sizing) else None
        if not isinstance(sizing, Sizing) or not tokens_per_h or device.name not in case.prices:
            continue
        quote = case.prices[device.name].low
        usd = quote.usd_per_gpu_hour * sizing.min_gpus
        price = _device_usd(case, device)
        own = _site(case, device, price).usd_per_gpu_hour(utilisation) if price is not None else None
        hosted = Hosted(
            accelerator=device.name,
            gpus=sizing.min_gpus,
            quote=quote,
            full=breakeven.Hosting(usd_per_hour=usd, tokens_per_hour=tokens_per_h),
            mean=breakeven.Hosting(usd_per_hour=usd, tokens_per_hour=tokens_per_h * utilisation),
            owned_usd_per_1m=own * sizing.min_gpus / tokens_per_h * 1e6 if own is not None else None,
        )
        found.append(hosted)
    return sorted(found, key=lambda each: (each.full.usd_per_1m, each.accelerator))


def _tokens_per_hour(workload: Workload | None, sizing: Sizing) -> float | None:
    """Prompts and answers of one full replica."""
    per_request = _tokens_per_request(workload)
    if isinstance(sizing.effort, Service) and per_request:
        return sizing.effort.requests_per_s_per_replica * per_request * 3600.0
    if isinstance(sizing.effort, FiniteWork) and isinstance(workload, BatchInference) and per_request:
        hours = sizing.effort.gpu_hours_on(sizing.min_gpus).p50 / sizing.min_gpus
        return workload.requests * per_request / hours
    return None


def _owned(case: _Case, device: Accelerator) -> Owned | None:
    """None where no price is known to buy or to rent it at."""
    price = _device_usd(case, device)
    if price is None or device.name not in case.prices:
        return None
    answer = case.sizings.get(device.name)
    effort = answer.effort if isinstance(answer, Sizing) else None
    count, hours = case.gpus, None
    if isinstance(answer, Sizing) and isinstance(effort, FiniteWork):
        count = case.gpus or max(answer.min_gpus, effort.gpus)
        hours = effort.gpu_hours_on(count).p50
    elif isinstance(answer, Sizing) and isinstance(effort, Service):
        count = effort.replicas * answer.min_gpus
    return Owned(
        accelerator=device.name,
        device_usd=price,
        site=_site(case, device, price),
        quote=case.prices[device.name].low,
        gpus=count,
        gpu_hours=hours,
    )


def _site(case: _Case, device: Accelerator, price: Assumption) -> breakeven.Site:
    numbers = case.numbers
    return breakeven.Site(
        capex_usd=price.value * numbers["--server-factor"],
        years=numbers["--years"],
        opex_share=numbers["--opex-share"],
        cost_of_capital=numbers["--cost-of-capital"],
        kw=energy.it_watts(device.tdp_w) / 1e3,
        pue=numbers["--pue"],
        usd_per_kwh=numbers["--power-price"],
    )


def _device_usd(case: _Case, device: Accelerator) -> Assumption | None:
    stated = _read("--gpu-price", case.terms.gpu_price, quantity.money_usd)
    if stated is not None:
        return Assumption(f"breakeven.device_usd.{device.name.casefold()}", stated, "as given")
    return breakeven.device_price(device.name, case.table)


def _tokens_per_request(workload: Workload | None) -> float | None:
    if isinstance(workload, Inference | BatchInference):
        return float(workload.prompt_tokens + workload.output_tokens)
    return None


def _asked_tokens_per_hour(workload: Workload | None) -> float | None:
    per_request = _tokens_per_request(workload)
    if isinstance(workload, Inference) and per_request:
        return workload.requests_per_s * per_request * 3600.0
    return None


def _why(sizings: Mapping[str, Sizing | Reason]) -> str:
    return next((f"{name}: {answer.detail}" for name, answer in sizings.items() if isinstance(answer, Reason)), "")
