"""Leases as JSON text, for providers that keep their own books on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from orchestrator.domain.lease import Endpoint, Lease, LeaseState
from orchestrator.domain.offer import Billing, Offer, Tier


def dump_lease(lease: Lease) -> str:
    """One line of JSON with sorted keys; `load_lease` gives the same lease back, exactly."""
    return json.dumps(asdict(lease), default=_plain, sort_keys=True)


def load_lease(text: str | bytes) -> Lease:
    """The lease that `dump_lease` wrote.

    Raises: ValueError where the text is empty, cut short or no lease.
    """
    try:
        record = json.loads(text)
        return Lease(
            **{
                **record,
                "offer": _offer(record["offer"]),
                "state": LeaseState(record["state"]),
                "acquired_at": datetime.fromisoformat(record["acquired_at"]),
                "endpoints": tuple(_endpoint(endpoint) for endpoint in record["endpoints"]),
                "ends_at": None if (ends := record.get("ends_at")) is None else datetime.fromisoformat(ends),
            }
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not a lease: {error}") from error


def _offer(record: Mapping[str, Any]) -> Offer:
    return Offer(
        **{
            **record,
            "billing": Billing(record["billing"]),
            "tier": Tier(record["tier"]),
            "observed_at": datetime.fromisoformat(record["observed_at"]),
        }
    )


def _endpoint(record: Mapping[str, Any]) -> Endpoint:
    env = tuple((str(name), str(value)) for name, value in record["env"])
    jump = record.get("jump")
    return Endpoint(**{**record, "env": env, "jump": None if jump is None else _endpoint(jump)})


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"no JSON form for {type(value).__name__}")
