"""The options of `isoflop size` that come in groups: what is asked of a model, where, and against which prices."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.workload import Method, Stack

_WORK = "What to do with --model"
_LAYOUT = "The layout of training"
_SITES = "Training on several sites"
_BREAK_EVEN = "With --break-even"


class ExchangeName(StrEnum):
    """The ways in which sites agree, as `sizing.multisite.EXCHANGES` calls them."""

    DILOCO = "diloco"
    INT8 = "int8"
    STREAMING = "streaming"


ModelName = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="A known model, a Hugging Face config.json, or a size such as 7B."),
]
Tokens = Annotated[
    str | None,
    typer.Option("--tokens", metavar="N", help="Tokens to train it on, such as 2T.", rich_help_panel=_WORK),
]
FineTuneBy = Annotated[
    Method | None,
    typer.Option("--fine-tune", help="Fine-tune it on --tokens by this method.", rich_help_panel=_WORK),
]
Serve = Annotated[
    str | None,
    typer.Option("--serve", metavar="RATE", help="Serve it at this rate, such as 20/s.", rich_help_panel=_WORK),
]
PromptTokens = Annotated[
    int | None, typer.Option("--prompt-tokens", min=1, help="Of a request to --serve.", rich_help_panel=_WORK)
]
OutputTokens = Annotated[
    int | None, typer.Option("--output-tokens", min=1, help="Of an answer of --serve.", rich_help_panel=_WORK)
]
PeakOverMean = Annotated[
    float | None,
    typer.Option("--peak-over-mean", min=1, help="Of the rate; replicas are for the peak.", rich_help_panel=_WORK),
]
StackName = Annotated[Stack | None, typer.Option("--stack", help="Software that serves it.", rich_help_panel=_WORK)]
Of = Annotated[Precision | None, typer.Option("--precision", help="Of weights and arithmetic.", rich_help_panel=_WORK)]
Mfu = Annotated[
    str | None,
    typer.Option("--mfu", metavar="SHARE", help="Utilisation you measured: 0.45 or 45%.", rich_help_panel=_WORK),
]
GlobalBatch = Annotated[
    str | None,
    typer.Option("--global-batch", metavar="N", help="Tokens of one step, such as 4M.", rich_help_panel=_WORK),
]
SequenceLength = Annotated[
    str | None,
    typer.Option("--sequence-length", metavar="N", help="Tokens of one sequence trained on.", rich_help_panel=_WORK),
]
NodeGpus = Annotated[
    int | None,
    typer.Option("--node-gpus", min=1, max=1024, help="GPUs behind one fast link.", rich_help_panel=_LAYOUT),
]
Fabric = Annotated[
    str | None,
    typer.Option(
        "--fabric", metavar="SPEED", help="Of one GPU out of its node, one way: 400Gbps.", rich_help_panel=_LAYOUT
    ),
]
Sites = Annotated[
    int | None,
    typer.Option("--sites", min=2, max=1000, help="Share the GPUs out over so many.", rich_help_panel=_SITES),
]
SiteBandwidth = Annotated[
    str | None,
    typer.Option(
        "--site-bandwidth",
        metavar="SPEED",
        help="Of one site's connection, the slowest: 10Gbps.",
        rich_help_panel=_SITES,
    ),
]
SiteRtt = Annotated[
    str | None,
    typer.Option("--site-rtt", metavar="TIME", help="Round trip, the longest: 60ms.", rich_help_panel=_SITES),
]
ExchangeBy = Annotated[
    ExchangeName | None, typer.Option("--exchange", help="How the sites agree.", rich_help_panel=_SITES)
]
SiteEgress = Annotated[
    str | None,
    typer.Option("--site-egress-usd-per-gb", metavar="USD", help="For what leaves a site.", rich_help_panel=_SITES),
]
Gpus = Annotated[int | None, typer.Option("--gpus", min=1, help="Devices of the job; else the least that hold it.")]
Accelerators = Annotated[
    str | None, typer.Option("--accelerator", metavar="NAMES", help="Only these, such as H100,A100-40GB.")
]
Compare = Annotated[
    str | None, typer.Option("--compare", metavar="NAMES", help="These side by side, such as H100,A100,MI300X.")
]
UsdPerGpuHour = Annotated[
    list[str] | None,
    typer.Option("--usd-per-gpu-hour", metavar="PRICE", help="Price instead of the market's; twice for a range."),
]
InferenceTokens = Annotated[
    str, typer.Option("--inference-tokens", metavar="N", help="Length of the one inference shown.")
]
Region = Annotated[
    str | None,
    typer.Option("--region", metavar="PLACE", help="Show energy and CO2 there: aws/eu-west-1, Oslo, FR."),
]
Pue = Annotated[float | None, typer.Option("--pue", min=1, max=3, help="Of the site: total over IT energy.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

BreakEven = Annotated[
    bool, typer.Option("--break-even", help="Compare renting GPUs with an API by the token and with owning.")
]
ApiPrice = Annotated[
    str | None,
    typer.Option("--api-price", metavar="USD", help="An API's, per 1e6 tokens.", rich_help_panel=_BREAK_EVEN),
]
ApiPriceIn = Annotated[
    str | None,
    typer.Option("--api-price-in", metavar="USD", help="The same of prompts alone.", rich_help_panel=_BREAK_EVEN),
]
ApiPriceOut = Annotated[
    str | None,
    typer.Option("--api-price-out", metavar="USD", help="The same of answers alone.", rich_help_panel=_BREAK_EVEN),
]
Utilisation = Annotated[
    str | None,
    typer.Option(
        "--utilisation",
        metavar="SHARE",
        help="Of the hours paid for, those that work is done.",
        rich_help_panel=_BREAK_EVEN,
    ),
]
GpuPrice = Annotated[
    str | None,
    typer.Option("--gpu-price", metavar="USD", help="To buy one device.", rich_help_panel=_BREAK_EVEN),
]
ServerFactor = Annotated[
    float | None,
    typer.Option(
        "--server-factor",
        min=1,
        help="Capex over the devices' price: servers and network.",
        rich_help_panel=_BREAK_EVEN,
    ),
]
Years = Annotated[
    float | None,
    typer.Option("--years", min=0.5, max=20, help="Until it is written off.", rich_help_panel=_BREAK_EVEN),
]
PowerPrice = Annotated[
    str | None,
    typer.Option("--power-price", metavar="USD", help="Of a kWh.", rich_help_panel=_BREAK_EVEN),
]
OpexShare = Annotated[
    str | None,
    typer.Option(
        "--opex-share",
        metavar="SHARE",
        help="Of the capex per year: staff, space, repairs.",
        rich_help_panel=_BREAK_EVEN,
    ),
]
CostOfCapital = Annotated[
    str | None,
    typer.Option("--cost-of-capital", metavar="SHARE", help="Per year.", rich_help_panel=_BREAK_EVEN),
]
