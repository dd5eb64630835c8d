"""Which leases are orphans."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.domain.events import LeaseGone, PurchaseRefused
from orchestrator.lifecycle.actions import Bought
from orchestrator.lifecycle.observed import Listing
from orchestrator.lifecycle.strays import strays
from orchestrator.testing.builders import lease
from orchestrator.testing.clock import EPOCH
from tests.unit.lifecycle.scene import Scene, ready

OURS = "owner-1"


def found(scene: Scene, *leases: object) -> list[str]:
    assert scene.run is not None
    listing = Listing(asked_at=EPOCH, leases=leases)  # type: ignore[arg-type]
    return [one.id for one in strays(listing, [scene.run], owner=OURS)]


def test_a_lease_that_no_run_knows_is_a_stray_only_under_our_own_tag() -> None:
    unknown = lease(id="x", token="nobody's", owner=OURS)
    assert found(Scene(), unknown, replace(unknown, id="y", owner="somebody else")) == ["x"]


def test_a_lease_whose_purchase_is_in_doubt_is_none() -> None:
    scene = Scene()
    buy = scene.to_acquiring()
    assert found(scene, ready(buy, scene.now)) == []


def test_a_second_lease_under_a_token_that_holds_one_is_a_stray() -> None:
    scene = Scene()
    buy = scene.to_acquiring()
    bought = ready(buy, scene.now)
    scene.step(Bought(action=buy, lease=bought))
    assert found(scene, bought, replace(bought, id="twin")) == ["twin"]


def test_a_lease_that_shows_up_after_its_purchase_was_settled_is_a_stray() -> None:
    for last in (
        PurchaseRefused(run_id="r", at=EPOCH, token="r-1", error="CapacityError", detail=""),
        LeaseGone(run_id="r", at=EPOCH, token="r-1", cause=""),
    ):
        scene = Scene()
        buy = scene.to_acquiring()
        bought = ready(buy, scene.now)
        if isinstance(last, LeaseGone):
            scene.step(Bought(action=buy, lease=bought))
        scene.write(last)
        assert found(scene, bought) == [bought.id]
