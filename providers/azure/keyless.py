"""Azure without an account: its public price list as offers that can be looked at and not be bought."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.domain.contracts import Clock, Survey
from orchestrator.domain.errors import LeaseNotFound, QuotaError, Scope
from orchestrator.domain.lease import Boot, Lease
from orchestrator.domain.offer import Offer
from orchestrator.domain.offerbook import OfferBook
from orchestrator.kit import fanout
from orchestrator.kit.facts import Facts
from providers.azure import translate
from providers.azure.retail import PriceList, Retail
from providers.azure.settings import NAME, AzureSettings
from providers.azure.translate import Gaps

# Regions of the public cloud with prices of GPU sizes in June 2026. Who has an account asks Azure for the list.
_PUBLIC = """
    australiacentral australiaeast australiasoutheast austriaeast belgiumcentral brazilsouth canadacentral canadaeast
    centralindia centralus chilecentral eastasia eastus eastus2 francecentral francesouth germanynorth
    germanywestcentral indonesiacentral israelcentral italynorth japaneast japanwest jioindiawest koreacentral
    koreasouth malaysiawest mexicocentral newzealandnorth northcentralus northeurope norwayeast norwaywest polandcentral
    qatarcentral southafricanorth southafricawest southcentralus southeastasia southindia spaincentral swedencentral
    swedensouth switzerlandnorth switzerlandwest uaecentral uaenorth uksouth ukwest westcentralus westeurope westindia
    westus westus2 westus3
"""
REGIONS = tuple(_PUBLIC.split())


class AzurePrices:
    """The price list, with GPUs and virtual CPUs by the names of sizes. Memory is unknown (0), and so is any limit."""

    name = NAME

    def __init__(self, *, settings: AzureSettings, clock: Clock) -> None:
        self._regions, self._clock, self._facts = settings.regions or REGIONS, clock, Facts(NAME)
        self._retail = Retail(
            url=settings.retail_url, clock=clock, currency=settings.currency, ca_file=settings.ca_file
        )

    def offers(self) -> OfferBook:
        """See `survey`. Raises: TransientError."""
        return self.survey().book

    def survey(self) -> Survey:
        """The prices of every region, one list each; a region that does not answer is a gap.

        Raises: TransientError where nothing answered.
        """
        with self._retail.reading() as prices:
            answers, failed = fanout.ask(self._regions, lambda region: self._region(prices(region), region))
        if failed and not answers:
            raise next(iter(failed.values()))
        offers = [offer for found, _ in answers.values() for offer in found]
        gaps = [gap for _, told in answers.values() for gap in told]
        return Survey(OfferBook.of(offers), (*fanout.told(failed), *gaps))

    def acquire(self, offer: Offer, nodes: int, *, token: str, boot: Boot) -> Lease:  # noqa: ARG002
        """Raises: QuotaError: who has no account may have no machine."""
        detail = (
            f"{nodes} x {offer.label} cannot be bought without a subscription: set providers.{NAME}.subscription_id"
        )
        raise QuotaError(NAME, detail, Scope.PROVIDER)

    def release(self, lease_id: str) -> None:
        """Raises: LeaseNotFound."""
        raise LeaseNotFound(NAME, f"no lease {lease_id!r}: there is no subscription")

    def leases(self) -> Sequence[Lease]:
        """None: nothing can be bought."""
        return []

    def _region(self, listed: PriceList, region: str) -> tuple[list[Offer], tuple[str, ...]]:
        gaps = Gaps()
        sizes = sorted({price.size for price in listed.prices.values()})
        shapes = [(size, translate.named(size, region)) for size in sizes]
        nothing = () if listed.prices else (f"{region}: the price list has no machine with GPUs there",)
        for size, shape in shapes:
            if shape is None:
                gaps.add(f"sizes in {region} whose GPUs the price list does not tell", size)
        found = translate.offers(
            [shape for _, shape in shapes if shape is not None],
            listed.prices,
            {},
            facts=self._facts,
            zonal=False,
            now=self._clock.now(),
            gaps=gaps,
        )
        return list(found), (*listed.gaps, *nothing, *gaps.told())
