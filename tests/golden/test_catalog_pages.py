"""The pages about prices: a refresh, what changed, a price path, an import."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import PurePosixPath

from orchestrator.catalog import community, gpuhunt, history, paths, sheet
from orchestrator.catalog.changes import last_changes
from orchestrator.catalog.history import History
from orchestrator.catalog.importer import BadRow, ImportReport
from orchestrator.catalog.query import OfferFilter
from orchestrator.catalog.refreshed import Refreshed
from orchestrator.domain.offer import Billing, Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.interfaces.views import plain
from orchestrator.interfaces.views.catalog_view import ImportedReport
from orchestrator.interfaces.views.changes_view import ChangesReport, RefreshReport, progress_page
from orchestrator.interfaces.views.history_view import HistoryReport
from orchestrator.inventory.refresh import Outcome, Progress, Stage, failed
from orchestrator.testing.builders import offer
from orchestrator.testing.clock import EPOCH

Golden = Callable[[str, str], None]
NOW = EPOCH + timedelta(days=4)
BEFORE = (
    offer(),
    offer(billing=Billing.SPOT, usd_per_hour=12.5),
    offer(region="eu-north-1", zone="eu-north-1a", usd_per_hour=20.0),
    offer(region="eu-west-1"),
    offer(instance_type="a100.8x", accelerator="A100-80GB", available=0),
)
AFTER = (
    offer(usd_per_hour=34.0),
    offer(billing=Billing.SPOT, usd_per_hour=9.0, available=0),
    offer(region="eu-north-1", zone="eu-north-1a", usd_per_hour=20.0),
    offer(region="ap-east-1"),
    offer(instance_type="a100.8x", accelerator="A100-80GB", available=2),
)


def grown(*looks: tuple[Offer, ...]) -> History:
    known = history.empty()
    for number, look in enumerate(looks):
        known = history.added(known, OfferBook.of(look), EPOCH + timedelta(days=number))
    return known


def test_the_page_of_a_refresh(golden: Golden) -> None:
    known = grown(BEFORE, AFTER)
    gaps = ("eu-west-1: no answer within 20 s", "41 instance types without a price: p6.48xlarge, trn2.48xlarge")
    told = Refreshed(provider="acme", book=OfferBook.of(AFTER), at=NOW, everything=False, gaps=gaps)
    outcomes = (
        Outcome(provider="acme", told=told, changes=last_changes("live-acme", known), gaps=gaps),
        failed("bolt", "no credentials: the environment variable BOLT_KEY is not set"),
        Outcome(provider="local", told=None, changes=None),
    )
    golden("refresh", plain.render(RefreshReport(outcomes, 12.3).page()))


def test_the_page_of_asking(golden: Golden) -> None:
    standing = (
        Progress("acme", Stage.DONE, "", 1204),
        Progress("bolt", Stage.WAITING, "throttled; again in 20 s"),
        Progress("zed", Stage.ASKING),
    )
    golden("refreshing", plain.render(progress_page(standing)))


def test_the_page_of_changes(golden: Golden) -> None:
    sources = (
        last_changes("live-acme", grown(BEFORE, AFTER)),
        last_changes("import-mine", grown(BEFORE)),
        last_changes("live-zed", grown(BEFORE, BEFORE)),
    )
    golden("changes", plain.render(ChangesReport(sources=sources, limit=4).page()))


def test_the_page_of_price_paths(golden: Golden) -> None:
    looks = [(offer(usd_per_hour=price), offer(region="b")) for price in (32.0, 30.0, 41.0)]
    looks.insert(2, (offer(usd_per_hour=30.0, available=0),))
    dated = tuple(
        tuple(offer(**{**_fields(each), "observed_at": EPOCH + timedelta(days=day)}) for each in look)
        for day, look in enumerate(looks)
    )
    known = {"live-acme": grown(*dated)}
    found = paths.select(known, OfferFilter(), now=NOW)
    golden("history", plain.render(HistoryReport(paths=tuple(found), matching=2, now=NOW).page()))
    one = paths.select(known, OfferFilter(regions=("us-*",)), now=NOW)
    golden("history-offer", plain.render(HistoryReport(paths=tuple(one), matching=1, now=NOW).page()))


def _fields(each: Offer) -> dict[str, object]:
    return {"region": each.region, "usd_per_hour": each.usd_per_hour, "available": each.available}


def test_the_page_of_a_catalogue_imported(golden: Golden) -> None:
    rows = (
        "instance_name,location,price,cpu,memory,gpu_count,gpu_name,gpu_memory,spot",
        "p5.48xlarge,us-east-1,55.04,192,2048,8,H100,80,False",
        "p5.48xlarge,us-east-1,-1,192,2048,8,H100,80,True",
        "m7i.large,us-east-1,0.1,2,8,0,,,False",
        "abacus,us-east-1,1,2,8,1,Abacus,1,False",
    )
    provider = community.provider_of(PurePosixPath("aws.csv")) or ""
    made = community.make(
        gpuhunt.listing(sheet.read(rows, whole=True), provider), observed_at=EPOCH, source="gpuhunt catalogue"
    )
    report = ImportReport(
        file="catalog.zip",
        book=made.book,
        rows=4,
        good=made.good,
        priceless=made.priceless,
        bad=tuple(BadRow(*fault, file="catalog.zip/aws.csv") for fault in made.faults),
        ignored_columns=(),
        unknown_gpus=tuple(sorted(made.unknown_gpus)),
        formats=(gpuhunt.NAME,),
        providers=("aws", "azure"),
        left_out=tuple(made.left_out.items()),
        passed_over=("README.csv",),
        file_dated=EPOCH,
    )
    golden("imported-catalogue", plain.render(ImportedReport(report, "catalog").page()))
