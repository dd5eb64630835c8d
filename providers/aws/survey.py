"""What is on sale in every region: few questions each, none per instance type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from orchestrator.domain.errors import ProviderError, TransientError
from orchestrator.kit.documents import Malformed, readable
from orchestrator.kit.money import Rates
from providers.aws import translate
from providers.aws.client import Client
from providers.aws.offers import Block, Region, Zone
from providers.aws.refusals import NAME, Rejected
from providers.aws.settings import AwsSettings
from providers.aws.translate import Price, Running, Type

R = TypeVar("R")
T = TypeVar("T")
MOST_TYPES = 100  # that DescribeInstanceTypes takes at once
LONGEST_VALUE = 1024  # of a filter of GetProducts
IN_USE = ["pending", "running", "stopping", "shutting-down"]
# Karpenter's: one product per instance type and region.
USUAL: Mapping[str, str] = {"tenancy": "Shared", "productFamily": "Compute Instance"}
METAL: Mapping[str, str] = {"tenancy": "Dedicated", "productFamily": "Compute Instance (bare metal)"}
PLAIN: Mapping[str, str] = {
    "serviceCode": "AmazonEC2",
    "operatingSystem": "Linux",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
    "marketoption": "OnDemand",
}


class Surveyor:
    """Asks one region at a time; safe to use from many threads."""

    def __init__(self, client: Client, settings: AwsSettings, rates: Rates) -> None:
        self._client, self._settings, self._rates = client, settings, rates

    def region(self, name: str, now: datetime) -> Region:
        """All that `name` sells. Raises: AuthError, TransientError where it cannot be told."""
        found = Region()
        with readable(NAME, name):
            found.zones, found.offered = self._zones(name)
            types = sorted(found.types)
            if not types:
                return found
            unread: list[str] = []
            found.demand, found.unpriced = self._list_prices(name, types, unread)
            found.spot = self._spot_prices(name, types, now, unread)
            told = [f"{name}: {len(unread)} prices cannot be read: {unread[0]}"] if unread else []
            found.gaps = (*told, *self._extras(name, found))
        return found

    def types(self, region: str, names: Sequence[str], unread: list[str]) -> dict[str, Type]:
        """Facts of types by name; words about rows that cannot be read go to `unread`.

        Raises: AuthError, TransientError.
        """
        found: dict[str, Type] = {}
        for start in range(0, len(names), MOST_TYPES):
            wanted = list(names[start : start + MOST_TYPES])
            rows = self._client.each("ec2", region, "DescribeInstanceTypes", "InstanceTypes", InstanceTypes=wanted)
            read = _each_read(rows, translate.instance_type, unread)
            found |= {kind.name: kind for kind in read if kind is not None}
        return found

    def spot_price(self, region: str, zone: str, name: str, now: datetime) -> float | None:
        """Of one type in one zone, now; None where it is not told. Raises: AuthError, TransientError."""
        found = self._spot_prices(region, [name], now, [], zone)
        price = found.get((name, zone), 0.0)
        return price if price > 0 else None

    def list_price(self, region: str, name: str) -> float | None:
        """Of one type on demand; None where it is not told. Raises: AuthError, TransientError."""
        found, _ = self._list_prices(region, [name], [])
        return found[name].usd_per_hour if name in found else None

    def scores(self, instance_type: str, regions: Sequence[str]) -> dict[tuple[str, str], float]:
        """The chance of a spot machine by (region, zone's id). Raises: AuthError, TransientError."""
        named = {"RegionNames": list(regions)} if len(regions) <= 10 else {}
        rows = self._client.each(
            "ec2",
            self._settings.home,
            "GetSpotPlacementScores",
            "SpotPlacementScores",
            InstanceTypes=[instance_type],
            TargetCapacity=1,
            TargetCapacityUnitType="units",
            SingleAvailabilityZone=True,
            **named,
        )
        with readable(NAME, instance_type):
            return translate.scores(rows)

    # One question each

    def _zones(self, region: str) -> tuple[tuple[Zone, ...], dict[str, frozenset[str]]]:
        answer = self._client.read("ec2", region, "DescribeAvailabilityZones")
        if answer.raw("AvailabilityZones") is None:
            raise TransientError(NAME, f"DescribeAvailabilityZones in {region}: a success without zones", 5.0)
        zones = tuple(
            Zone(row.text("ZoneName"), row.text("ZoneId", ""))
            for row in answer.each("AvailabilityZones")
            if row.text("ZoneType", "availability-zone") == "availability-zone"
            and row.text("State", "available") == "available"
        )
        names = {zone.name for zone in zones}
        offered: dict[str, set[str]] = {}
        for row in self._client.each(
            "ec2",
            region,
            "DescribeInstanceTypeOfferings",
            "InstanceTypeOfferings",
            LocationType="availability-zone",
            Filters=[{"Name": "instance-type", "Values": list(self._settings.instance_types)}],
            MaxResults=1000,
        ):
            if row.text("Location") in names:
                offered.setdefault(row.text("Location"), set()).add(row.text("InstanceType"))
        return zones, {zone: frozenset(types) for zone, types in offered.items()}

    def _list_prices(
        self, region: str, types: Sequence[str], unread: list[str]
    ) -> tuple[dict[str, Price], tuple[str, ...]]:
        """Prices by type, and the types whose price is none or not to be told from another."""
        metal = [name for name in types if ".metal" in name]
        usual = [name for name in types if ".metal" not in name]
        found: dict[str, set[Price | None]] = {}
        for names, kind in ((usual, USUAL), (metal, METAL)):
            if names:
                for name, price in self._products(region, names, kind, unread):
                    found.setdefault(name, set()).add(price)
        priced = {name: found[name] - {None} for name in types if name in found}
        # Two products that differ in price alone: which is ours is not to be guessed.
        good = {name: price for name, prices in priced.items() if len(prices) == 1 for price in prices if price}
        return good, tuple(sorted(priced.keys() - good.keys()))

    def _products(
        self, region: str, types: Sequence[str], kind: Mapping[str, str], unread: list[str]
    ) -> list[tuple[str, Price | None]]:
        """Products of `types` alone; where the list does not know that filter, of all types."""
        filters = [_match(field, value) for field, value in {"regionCode": region, **PLAIN, **kind}.items()]
        found: list[tuple[str, Price | None]] = []
        with suppress(Rejected):
            for value in _joined(types):
                only = {"Type": "ANY_OF", "Field": "instanceType", "Value": value}
                found += self._products_by([*filters, only], unread)
        return found or self._products_by(filters, unread)

    def _products_by(self, filters: Sequence[Mapping[str, str]], unread: list[str]) -> list[tuple[str, Price | None]]:
        texts = self._client.texts(
            "pricing",
            self._settings.pricing_region,
            "GetProducts",
            "PriceList",
            ServiceCode="AmazonEC2",
            Filters=list(filters),
            MaxResults=100,
        )
        return list(_each_read(texts, lambda text: translate.list_price(text, self._rates), unread))

    def _spot_prices(
        self, region: str, types: Sequence[str], now: datetime, unread: list[str], zone: str = ""
    ) -> dict[tuple[str, str], float]:
        rows = self._client.each(
            "ec2",
            region,
            "DescribeSpotPriceHistory",
            "SpotPriceHistory",
            StartTime=now,
            ProductDescriptions=["Linux/UNIX"],
            InstanceTypes=list(types),
            MaxResults=1000,
            **({"AvailabilityZone": zone} if zone else {}),
        )
        return translate.newest(_each_read(rows, translate.spot_price, unread))

    def _extras(self, region: str, found: Region) -> list[str]:
        """What offers do without: a refusal here is a gap."""
        gaps = []
        if self._settings.quotas:
            try:
                found.running = self._running(region)
                found.limits = translate.quotas(
                    self._client.each(
                        "service-quotas", region, "ListServiceQuotas", "Quotas", ServiceCode="ec2", MaxResults=100
                    )
                )
            except (ProviderError, Malformed) as error:
                gaps.append(f"quotas of {region} are unknown: {error}")
        try:
            found.blocks = self._blocks(region, found)
        except (ProviderError, Malformed) as error:
            gaps.append(f"capacity blocks of {region} are unknown: {error}")
        return gaps

    def _running(self, region: str) -> tuple[Running, ...]:
        reservations = self._client.each(
            "ec2",
            region,
            "DescribeInstances",
            "Reservations",
            Filters=[
                {"Name": "instance-state-name", "Values": IN_USE},
                {"Name": "instance-type", "Values": list(self._settings.instance_types)},
            ],
            MaxResults=1000,
        )
        return tuple(translate.running(row) for each in reservations for row in each.each("Instances"))

    def _blocks(self, region: str, found: Region) -> tuple[Block, ...]:
        blocks: dict[tuple[str, str], Block] = {}
        for name in sorted(found.types.intersection(self._settings.capacity_blocks)):
            for row in self._client.each(
                "ec2",
                region,
                "DescribeCapacityBlockOfferings",
                "CapacityBlockOfferings",
                InstanceType=name,
                InstanceCount=1,
                CapacityDurationHours=self._settings.capacity_block_hours,
            ):
                hours = row.number("CapacityBlockDurationHours")
                fee = self._rates.usd(row.number("UpfrontFee"), row.text("CurrencyCode", "USD"))
                nodes = int(row.number("InstanceCount"))
                if fee is None or not fee.usd > 0 or not hours > 0 or nodes < 1:
                    continue
                zone, starts_at = row.text("AvailabilityZone"), translate.moment(row, "StartDate")
                block = Block(name, zone, nodes, fee.usd / hours / nodes, hours, starts_at)
                if (name, zone) not in blocks or block.usd_per_hour < blocks[name, zone].usd_per_hour:
                    blocks[name, zone] = block
        return tuple(blocks.values())


def _each_read(rows: Iterable[R], read: Callable[[R], T], unread: list[str]) -> Iterator[T]:
    """What `read` makes of every row; words about those that it cannot read go to `unread`."""
    for row in rows:
        try:
            yield read(row)
        except Malformed as error:
            unread.append(str(error))


def _match(name: str, value: str) -> dict[str, str]:
    return {"Type": "TERM_MATCH", "Field": name, "Value": value}


def _joined(words: Sequence[str]) -> Iterable[str]:
    """`words` with commas between them, in as few texts as a filter's value may be long."""
    line = ""
    for word in words:
        if line and len(line) + 1 + len(word) > LONGEST_VALUE:
            yield line
            line = ""
        line = f"{line},{word}" if line else word
    if line:
        yield line
