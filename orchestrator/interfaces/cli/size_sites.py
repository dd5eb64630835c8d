"""`isoflop size --sites`: from options and sizings to what training over more than one site takes, and its worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.errors import UserError
from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.domain.workload import FineTune, Method, Training, Workload
from orchestrator.interfaces.cli import session
from orchestrator.interfaces.views import format as fmt
from orchestrator.interfaces.views.multisite_view import OnSites
from orchestrator.interfaces.views.size_figures import Figures
from orchestrator.interfaces.views.step_view import step_of
from orchestrator.sizing import multisite
from orchestrator.sizing.layouts import step_tokens, usual_batch
from orchestrator.sizing.parameters import Parameters
from orchestrator.sizing.size import size
from orchestrator.sizing.work import work_of
from orchestrator.spec import quantity

SHOWN = 3  # accelerators up to which each gets its verdict; of more the cheapest alone
BANDWIDTH, ROUND_TRIP, EXCHANGE = "10Gbps", "60ms", "diloco"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The options of --sites; None is not given."""

    sites: int | None = None
    site_bandwidth: str | None = None
    site_rtt: str | None = None
    exchange: str | None = None
    site_egress_usd_per_gb: str | None = None

    def strays(self) -> list[str]:
        """The options used that mean nothing without --sites, as they are typed."""
        names = [field.name for field in fields(self) if field.name != "sites"]
        return [f"--{name.replace('_', '-')}" for name in names if getattr(self, name) is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What all accelerators share."""

    job: Training | FineTune
    count: int
    link: multisite.Link
    exchange: multisite.Exchange
    egress_usd_per_gb: float | None
    parameters: Parameters
    notes: tuple[str, ...]


def case(terms: Terms, workload: Workload | None, gpus: int | None, parameters: Parameters) -> Case | None:
    """The case that the options make; None where --sites is not asked for.

    Raises: UserError where it is asked of work, or of devices, that cannot be shared out over sites.
    """
    if terms.sites is None:
        if terms.strays():
            raise UserError(f"{', '.join(terms.strays())}: only with --sites N")
        return None
    if not isinstance(workload, Training | FineTune):
        raise UserError("--sites is for training: give --tokens N, or a job file that trains")
    if isinstance(workload, FineTune) and workload.method is not Method.FULL:
        raise UserError("--sites is for training all weights: an adapter is trained in one place")
    total = workload.parallelism.devices if workload.parallelism is not None else gpus
    if total is None:
        raise UserError("--sites shares out the devices of the job: give --gpus N, all sites together")
    if total % terms.sites:
        raise UserError(f"{total:,} devices are not shared out evenly over {terms.sites} sites: give a multiple")
    if workload.parallelism is not None and workload.parallelism.data % terms.sites:
        raise UserError(
            f"the job's {workload.parallelism.data:,} data-parallel ranks are not shared out evenly over"
            f" {terms.sites} sites: give a multiple"
        )
    gbit_s = _read("--site-bandwidth", terms.site_bandwidth or BANDWIDTH, quantity.bandwidth_gbit_s)
    if gbit_s == 0:
        raise UserError("--site-bandwidth 0: sites without a link train nothing together")
    rtt_s = _read("--site-rtt", terms.site_rtt or ROUND_TRIP, quantity.duration_s)
    egress = session.read_option("--site-egress-usd-per-gb", terms.site_egress_usd_per_gb, quantity.money_usd)
    return Case(
        job=workload,
        count=terms.sites,
        link=multisite.Link(gbit_s=gbit_s, rtt_s=rtt_s),
        exchange=multisite.EXCHANGES[terms.exchange or EXCHANGE],
        egress_usd_per_gb=egress,
        parameters=parameters,
        notes=_notes(terms, workload),
    )


def answers(asked: Case, fitting: Sequence[Figures]) -> tuple[OnSites, ...]:
    """The verdict on each of `fitting`, or on the first alone where they are many."""
    shown = fitting if len(fitting) <= SHOWN else fitting[:1]
    return tuple(OnSites(accelerator=row.device.name, result=_verdict(asked, row)) for row in shown)


def _verdict(asked: Case, row: Figures) -> multisite.MultiSite | Reason:
    if row.gpus is None or row.hours is None:
        raise TypeError(f"{row.device.name}: training takes devices and hours")
    refusal = _refusal(asked, row.device, row.gpus // asked.count)
    if refusal is not None:
        return refusal
    steps = max(1.0, asked.job.tokens / _batch_tokens(asked, row))
    sites = multisite.equal_sites(
        asked.count,
        devices=row.gpus,
        hours_together=row.hours.p50,
        steps=steps,
        egress_usd_per_gb=asked.egress_usd_per_gb,
    )
    return multisite.verdict(
        parameters=asked.job.model.parameters,
        steps=steps,
        sites=sites,
        link=asked.link,
        exchange=asked.exchange,
        table=asked.parameters,
    )


def _refusal(asked: Case, device: Accelerator, each: int) -> Reason | None:
    """Why `each` devices of one site cannot do its part: every site holds the whole model."""
    job = asked.job
    layout = job.parallelism
    if layout is not None:
        share = None if job.global_batch_tokens is None else job.global_batch_tokens / asked.count
        job = replace(job, parallelism=replace(layout, data=layout.data // asked.count), global_batch_tokens=share)
    answer = size(job, [device], asked.parameters, gpus=each)[device.name]
    if not isinstance(answer, Reason):
        return None
    whole = f"every site holds the whole model, and {fmt.count(each)} x {device.name} do not: {answer.detail}"
    return Reason("sizing", ReasonCode.NO_FIT, whole)


def _batch_tokens(asked: Case, row: Figures) -> float:
    """Tokens of one step, all sites together."""
    job, step = asked.job, step_of(row)
    if job.global_batch_tokens is not None:
        return job.global_batch_tokens
    if job.parallelism is not None and step is not None:
        return step_tokens(step.parallelism, job.sequence_length)
    work = work_of(job.model, sequence_length=float(job.sequence_length), precision=job.precision)
    return usual_batch(work, row.gpus or 1, asked.parameters)


def _notes(terms: Terms, job: Training | FineTune) -> tuple[str, ...]:
    assumed = [
        f"{default} ({option})"
        for option, default, given in (
            ("--site-bandwidth", BANDWIDTH, terms.site_bandwidth),
            ("--site-rtt", ROUND_TRIP, terms.site_rtt),
            ("--exchange", EXCHANGE, terms.exchange),
        )
        if given is None
    ]
    said = [f"between the sites {', '.join(assumed)} is assumed"] if assumed else []
    if job.global_batch_tokens is None:
        said.append("the global batch is not stated: the steps of the sites are of one usual for the model's size")
    return tuple(said)


def _read(option: str, text: str, reader: Callable[[str], float]) -> float:
    return session.read_option(option, text, reader) or 0.0
