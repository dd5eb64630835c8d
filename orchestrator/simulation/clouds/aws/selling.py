"""What is offered, where and for how much: EC2's and the price list's questions about the market."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from orchestrator.domain.offer import Billing
from orchestrator.simulation.clouds.aws.catalogue import PROVIDER, QUOTAS, Catalogue
from orchestrator.simulation.clouds.aws.network import made_id
from orchestrator.simulation.clouds.aws.paging import filtered, paged
from orchestrator.simulation.clouds.aws.protocol import AwsError, Call, moment
from orchestrator.simulation.clouds.market import Market
from orchestrator.simulation.clouds.pools import Pool, chance

HISTORY = timedelta(days=90)
CONFIGURATIONS = 50  # of placement scores in a day, that are not yet known (from memory)
UNLIMITED = 100_000.0  # vCPUs of a quota that nobody set


class Selling:
    """Answers that change nothing."""

    def __init__(self, market: Market, catalogue: Catalogue) -> None:
        self._market, self._catalogue = market, catalogue
        self._products: list[dict[str, Any]] = list(_products(market))
        self._scored: dict[str, datetime] = {}  # configurations by when they were first asked for

    # Regions, zones, types

    def regions(self, call: Call) -> dict[str, Any]:
        """DescribeRegions."""
        rows = [
            {"RegionName": name, "Endpoint": f"ec2.{name}.amazonaws.com", "OptInStatus": "opt-in-not-required"}
            for name in self._catalogue.regions
        ]
        wanted = call.params.get("RegionNames")
        unknown = [name for name in wanted or () if name not in self._catalogue.regions]
        if unknown:
            raise AwsError("InvalidParameterValue", f"Invalid region(s) '{unknown[0]}' provided.")
        named = [row for row in rows if wanted is None or row["RegionName"] in wanted]
        return {"Regions": filtered(named, call.params, {"region-name": lambda row: [row["RegionName"]]})}

    def zones(self, call: Call) -> dict[str, Any]:
        """DescribeAvailabilityZones, with a Local Zone beside the real ones."""
        rows = [
            {
                "ZoneName": name,
                "ZoneId": self._catalogue.zone_id(name),
                "ZoneType": "availability-zone",
                "State": "available",
                "OptInStatus": "opt-in-not-required",
                "RegionName": call.region,
                "GroupName": call.region,
                "NetworkBorderGroup": call.region,
            }
            for name in self._catalogue.zones.get(call.region, ())
        ]
        local = f"{call.region}-bos-1a"
        rows.append({**rows[0], "ZoneName": local, "ZoneId": f"{local}-id", "ZoneType": "local-zone"})
        fields = {"zone-name": lambda row: [row["ZoneName"]], "zone-type": lambda row: [row["ZoneType"]]}
        return {"AvailabilityZones": filtered(rows, call.params, fields)}

    def offerings(self, call: Call) -> dict[str, Any]:
        """DescribeInstanceTypeOfferings."""
        kind = call.params.get("LocationType", "region")
        rows: list[dict[str, str]] = []
        if kind == "region":
            names = self._catalogue.types_in(call.region)
            rows = [{"InstanceType": name, "LocationType": kind, "Location": call.region} for name in names]
        elif kind in {"availability-zone", "availability-zone-id"}:
            for zone in self._catalogue.zones.get(call.region, ()):
                location = zone if kind == "availability-zone" else self._catalogue.zone_id(zone)
                rows += [
                    {"InstanceType": name, "LocationType": kind, "Location": location}
                    for name in self._catalogue.types_in(call.region, zone)
                ]
        fields = {"instance-type": lambda row: [row["InstanceType"]], "location": lambda row: [row["Location"]]}
        return paged(call, filtered(rows, call.params, fields), "InstanceTypeOfferings", most=1000)

    def types(self, call: Call) -> dict[str, Any]:
        """DescribeInstanceTypes."""
        offered = self._catalogue.types_in(call.region)
        wanted = call.params.get("InstanceTypes")
        if wanted is not None:
            if len(wanted) > 100:
                raise AwsError("InvalidParameterValue", "at most 100 instance types are described at once")
            missing = [name for name in wanted if name not in offered]
            if missing:
                text = f"The following supplied instance types do not exist: [{', '.join(missing)}]"
                raise AwsError("InvalidInstanceType", text)
        names = [name for name in offered if wanted is None or name in wanted]
        kept = filtered(names, call.params, {"instance-type": lambda name: [name]})
        page = paged(call, kept, "InstanceTypes", most=100)
        return {
            **page,
            "InstanceTypes": [self._catalogue.describe(call.region, name) for name in page["InstanceTypes"]],
        }

    # Prices

    def products(self, call: Call) -> dict[str, Any]:
        """GetProducts of the Price List API: every element of the list is JSON in a string."""
        if call.params["ServiceCode"] != "AmazonEC2":
            raise AwsError("InvalidParameterException", f"no prices of {call.params['ServiceCode']}")
        kept = [
            row
            for row in self._products
            if all(_matches(row["attributes"], each) for each in call.params.get("Filters", ()))
        ]
        page = paged(call, kept, "PriceList", most=100)
        return {**page, "FormatVersion": "aws_v1", "PriceList": [self._product(row) for row in page["PriceList"]]}

    def _product(self, row: Mapping[str, Any]) -> str:
        sku, attributes = row["sku"], row["attributes"]
        usd = self._market.price(row["pool"].key) * row["factor"]
        rate = {
            "unit": "Hrs",
            "beginRange": "0",
            "endRange": "Inf",
            "rateCode": f"{sku}.JRTCKXETXF.6YS6EN2CT7",
            "description": f"${usd:g} per On Demand Linux {attributes['instanceType']} Instance Hour",
            "appliesTo": [],
            "pricePerUnit": {"USD": f"{usd:.10f}"},
        }
        term = {
            "sku": sku,
            "offerTermCode": "JRTCKXETXF",
            "effectiveDate": "2026-11-01T00:00:00Z",
            "termAttributes": {},
            "priceDimensions": {rate["rateCode"]: rate},
        }
        family = attributes["productFamily"]
        shown = {name: value for name, value in attributes.items() if name != "productFamily"}
        product = {
            "product": {"sku": sku, "productFamily": family, "attributes": shown},
            "serviceCode": "AmazonEC2",
            "terms": {"OnDemand": {f"{sku}.JRTCKXETXF": term}},
            "version": "20261101000000",
            "publicationDate": "2026-11-01T00:00:00Z",
        }
        return json.dumps(product)

    def spot_history(self, call: Call) -> dict[str, Any]:
        """DescribeSpotPriceHistory: the price at the start of the range and every one since; prices are strings."""
        now = self._market.clock.now()
        start = max(moment(call.params.get("StartTime", now - HISTORY)), now - HISTORY)
        end = min(moment(call.params.get("EndTime", now)), now)
        rows = [
            {
                "InstanceType": pool.key.instance_type,
                "AvailabilityZone": self._catalogue.shown_zone(pool.key),
                "AvailabilityZoneId": self._catalogue.zone_id(self._catalogue.shown_zone(pool.key)),
                "ProductDescription": "Linux/UNIX",
                "SpotPrice": f"{self._market.price(pool.key, at):.6f}",
                "Timestamp": at,
            }
            for pool in self._spot_pools(call)
            for at in _hours(min(start, end), end)
        ]
        fields = {"instance-type": lambda row: [row["InstanceType"]], "availability-zone": _zone_of}
        wanted = call.params.get("ProductDescriptions", ["Linux/UNIX"])
        kept = filtered(rows if "Linux/UNIX" in wanted else [], call.params, fields)
        blank = chance(self._market.seed, "blank", call.region) < 0.5
        return paged(call, kept, "SpotPriceHistory", most=1000, blank=blank)

    def _spot_pools(self, call: Call) -> list[Pool]:
        types, zone = call.params.get("InstanceTypes"), call.params.get("AvailabilityZone", "")
        return [
            pool
            for pool in self._market.sold_by(PROVIDER)
            if pool.key.region == call.region
            and pool.key.billing is Billing.SPOT
            and (types is None or pool.key.instance_type in types)
            and zone in {"", self._catalogue.shown_zone(pool.key)}
        ]

    # Advice, blocks, quotas

    def scores(self, call: Call) -> dict[str, Any]:
        """GetSpotPlacementScores: the ten best places; few different questions are answered in a day."""
        params, now = call.params, self._market.clock.now()
        asked = repr(sorted((key, value) for key, value in params.items() if key != "NextToken"))
        with self._market.lock:
            self._scored = {each: at for each, at in self._scored.items() if now - at < timedelta(days=1)}
            if asked not in self._scored and len(self._scored) >= CONFIGURATIONS:
                raise AwsError("MaxConfigLimitExceeded", "the limit of configurations in 24 hours is reached")
            self._scored.setdefault(asked, now)
        rows = []
        for pool in self._market.sold_by(PROVIDER):
            key = pool.key
            regions = params.get("RegionNames", self._catalogue.regions)
            if (
                key.billing is Billing.SPOT
                and key.instance_type in params.get("InstanceTypes", ())
                and key.region in regions
            ):
                share = self._market.available(key) / max(1, pool.capacity, params["TargetCapacity"])
                row = {"Region": key.region, "Score": 1 + round(9 * min(1.0, share))}
                if params.get("SingleAvailabilityZone"):
                    row["AvailabilityZoneId"] = self._catalogue.zone_id(self._catalogue.shown_zone(key))
                rows.append(row)
        best = sorted(rows, key=lambda row: (-int(row["Score"]), repr(row)))[:10]
        return {"SpotPlacementScores": best}

    def blocks(self, call: Call) -> dict[str, Any]:
        """DescribeCapacityBlockOfferings: one in each zone that sells the type, from tomorrow on."""
        params, now = call.params, self._market.clock.now()
        hours, count = params["CapacityDurationHours"], params.get("InstanceCount", 1)
        if hours % 24:
            raise AwsError("InvalidParameterValue", "CapacityDurationHours is a multiple of 24")
        begins = now.replace(hour=11, minute=30, second=0, microsecond=0) + timedelta(days=1)
        rows = []
        for zone in self._catalogue.zones.get(call.region, ()):
            pool = self._catalogue.pool(call.region, zone, params.get("InstanceType", ""), Billing.ON_DEMAND)
            if pool is None or pool.capacity < count:
                continue
            rows.append(
                {
                    "CapacityBlockOfferingId": made_id("cb", self._market.seed, *pool.key),
                    "InstanceType": pool.key.instance_type,
                    "AvailabilityZone": zone,
                    "InstanceCount": count,
                    "StartDate": begins,
                    "EndDate": begins + timedelta(hours=hours),
                    "CapacityBlockDurationHours": hours,
                    "UpfrontFee": f"{0.75 * self._market.price(pool.key) * hours * count:.2f}",
                    "CurrencyCode": "USD",
                    "Tenancy": "default",
                }
            )
        return paged(call, rows, "CapacityBlockOfferings", most=1000)

    def quotas(self, call: Call) -> dict[str, Any]:
        """ListServiceQuotas."""
        if call.params["ServiceCode"] != "ec2":
            raise AwsError("NoSuchResourceException", f"no service {call.params['ServiceCode']}")
        limits = {(state.name, state.region): state.limit for state in self._market.quotas(PROVIDER)}
        rows = [
            {
                "ServiceCode": "ec2",
                "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
                "QuotaArn": f"arn:aws:servicequotas:{call.region}:000000000001:ec2/{code}",
                "QuotaCode": code,
                "QuotaName": name,
                "Value": float(limits.get((code, call.region), UNLIMITED)),
                "Unit": "None",
                "Adjustable": True,
                "GlobalQuota": False,
            }
            for _, _, code, name in QUOTAS
        ]
        return paged(call, rows, "Quotas", most=100)


def _zone_of(row: Mapping[str, Any]) -> list[str]:
    return [row["AvailabilityZone"]]


def _hours(start: datetime, end: datetime) -> Iterator[datetime]:
    """The hour that `start` is in and every later one until `end`, the newest first."""
    at = end.replace(minute=0, second=0, microsecond=0)
    while True:
        yield at
        if at <= start:
            return
        at -= timedelta(hours=1)


def _products(market: Market) -> Iterator[dict[str, Any]]:
    """Products of every type sold on demand, and beside each what the usual filters must keep out."""
    seen: set[tuple[str, str]] = set()
    for pool in market.sold_by(PROVIDER):
        key = pool.key
        if key.billing is not Billing.ON_DEMAND or (key.region, key.instance_type) in seen:
            continue
        seen.add((key.region, key.instance_type))
        metal = ".metal" in key.instance_type
        attributes = {
            "servicecode": "AmazonEC2",
            "serviceCode": "AmazonEC2",
            "productFamily": "Compute Instance (bare metal)" if metal else "Compute Instance",
            "instanceType": key.instance_type,
            "regionCode": key.region,
            "location": key.region,
            "locationType": "AWS Region",
            "operatingSystem": "Linux",
            "preInstalledSw": "NA",
            "tenancy": "Dedicated" if metal else "Shared",
            "capacitystatus": "Used",
            "marketoption": "OnDemand",
            "operation": "RunInstances",
            "vcpu": str(round(pool.vcpus)),
            "memory": f"{pool.host_memory_gib:g} GiB",
            "gpu": f"{pool.gpus:g}",
        }
        for number, (changed, factor) in enumerate(
            (
                ({}, 1.0),
                ({"marketoption": "CapacityBlock"}, 0.6),
                ({"operatingSystem": "Windows"}, 1.4),
                ({"capacitystatus": "UnusedCapacityReservation"}, 0.0),
            )
        ):
            sku = f"{int(chance(0, *key, number) * 36**10):016X}"
            yield {"sku": sku, "pool": pool, "factor": factor, "attributes": {**attributes, **changed}}


def _matches(attributes: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    value, against = attributes.get(wanted["Field"], ""), wanted["Value"]
    if wanted["Type"] == "CONTAINS":
        return against.lower() in value.lower()
    if wanted["Type"] == "ANY_OF":
        return value in against.split(",")
    if wanted["Type"] == "NONE_OF":
        return value not in against.split(",")
    return value.lower() == against.lower()
