"""What a state folder holds, has spent and has learned reaches the plans that ask for it."""

from pathlib import Path

import pytest

from orchestrator import config
from orchestrator.app import App
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.events import Moved, Planned, Purchased, PurchaseIntended, Submitted
from orchestrator.domain.run import RunState
from orchestrator.domain.standing import Holding, ProviderScore
from orchestrator.spec import documents
from orchestrator.testing.builders import lease, offer, plan_of, program, snapshot, training
from orchestrator.testing.clock import EPOCH, FakeClock

SAID = {"alpha": {"failures_per_node_hour": 0.002, "refused": 0.25}, "beta": {"refused": 1}}


def settings(home: Path, **tables: object) -> config.Settings:
    return config.parse({"providers": {"local": {"enabled": False}}, **tables}, home=home, file="config.toml")


def stored(app: App) -> None:
    """A run that holds two nodes of alpha."""
    held = offer(provider="alpha")
    store = app.store()
    run, _ = store.submit(Submitted(run_id="r", at=EPOCH, workload=training(program=program())))
    fence = store.lead("test", now=EPOCH, ttl_s=1e9)
    assert fence is not None
    store.append(
        [
            Moved(run_id=run, at=EPOCH, to=RunState.PLANNING, cause=""),
            Planned(run_id=run, at=EPOCH, plan=plan_of()),
            Moved(run_id=run, at=EPOCH, to=RunState.ACQUIRING, cause=""),
            PurchaseIntended(
                run_id=run, at=EPOCH, token="t", candidate=0, offer=held, nodes=2, usd_per_hour=64.0, fence=fence
            ),
            Purchased(
                run_id=run,
                at=EPOCH,
                token="t",
                lease=lease(token="t", provider="alpha", offer=held, nodes=2, usd_per_hour=64.0),
            ),
        ],
        fence=fence,
    )
    store.close()


def test_who_buys_sees_what_is_held_and_learned(tmp_path: Path) -> None:
    app = App(settings(tmp_path), clock=FakeClock(EPOCH))
    stored(app)
    (holding,) = app.snapshot(buying=True).holdings
    assert (holding.provider, holding.nodes, holding.gpus, holding.usd_per_hour) == ("alpha", 2, 16.0, 64.0)
    assert [score.provider for score in app.snapshot(buying=True).scores] == ["alpha"]


def test_a_dry_run_reads_no_history_unless_the_settings_ask_for_it(tmp_path: Path) -> None:
    app = App(settings(tmp_path), clock=FakeClock(EPOCH))
    stored(app)
    assert app.snapshot().holdings == ()
    for tables in ({"policies": {"spread": {"max_share": 0.5}}}, {"reliability": SAID}):
        assert App(settings(tmp_path, **tables), clock=FakeClock(EPOCH)).snapshot().holdings


def test_without_a_history_the_settings_scores_stand_and_no_store_is_made(tmp_path: Path) -> None:
    app = App(settings(tmp_path, reliability=SAID), clock=FakeClock(EPOCH))
    assert app.snapshot(buying=True).scores == (
        ProviderScore(provider="alpha", failures_per_node_hour=0.002, refused=0.25, origin="configuration file"),
        ProviderScore(provider="beta", refused=1.0, origin="configuration file"),
    )
    assert not (tmp_path / "store.db").exists()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"refused": 1.5}, "reliability.x.refused is a number from 0 to 1, not 1.5"),
        ({"refused": float("nan")}, "reliability.x.refused is a number from 0 to 1, not nan"),
        ({"failures_per_node_hour": "often"}, "failures_per_node_hour is a number from 0 to 1,000,000, not 'often'"),
        ({"failures": 1}, "reliability.x: unknown setting failures (known: failures_per_node_hour, refused)"),
    ],
)
def test_a_score_that_is_none_is_refused_with_its_place(tmp_path: Path, table: object, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, reliability={"x": table})
    assert words in str(caught.value)


def test_a_snapshot_with_scores_and_holdings_is_written_and_read_and_has_its_own_id() -> None:
    bare = snapshot()
    held = Holding(
        run="r",
        provider="a",
        region="b",
        zone="",
        instance_type="x",
        billing="spot",
        nodes=1,
        gpus=8.0,
        usd_per_hour=1.0,
    )
    full = snapshot(holdings=(held,), scores=(ProviderScore(provider="a", refused=0.5),))
    assert full.id != bare.id
    again = documents.load_snapshot(documents.dump_snapshot(full))
    assert (again.holdings, again.scores, again.id) == (full.holdings, full.scores, full.id)
