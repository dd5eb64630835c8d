"""The page and the document of a job on several sites."""

from __future__ import annotations

import json

from orchestrator.domain.reason import Reason, ReasonCode
from orchestrator.interfaces.views import machine, multisite_view, plain
from orchestrator.interfaces.views.multisite_view import OnSites
from orchestrator.interfaces.views.page import Line, Title, text_of
from orchestrator.sizing.multisite import STREAMING, Exchange, Link, MultiSite, Site, equal_sites, verdict


def result(*, price: float | None = 0.05, gbit_s: float = 10.0, exchange: Exchange = STREAMING) -> MultiSite:
    sites = equal_sites(2, devices=2048, hours_together=700.0, steps=250_000.0, egress_usd_per_gb=price)
    link = Link(gbit_s=gbit_s, rtt_s=0.06)
    return verdict(parameters=70e9, steps=250_000.0, sites=sites, link=link, exchange=exchange)


def text(of: MultiSite) -> str:
    return plain.render(tuple(multisite_view.several((OnSites(accelerator="H100-SXM", result=of),))))


def test_the_verdict_comes_first() -> None:
    title, first, *_ = multisite_view.blocks(result(), "H100-SXM")
    assert title == Title("2,048 x H100-SXM on 2 sites: Streaming DiLoCo")
    assert isinstance(first, Line)
    assert "".join(map(text_of, first.cells)) == result().why


def test_the_page_has_every_number_with_its_unit_and_the_four_ways() -> None:
    page = text(result())
    for words in (
        "250,000 in one place, each 10 s of the run's time",
        "10 Gbit/s, 60 ms round trip",
        "every 100 steps of 10 s, 0.5 bytes a parameter: each site sends 35 GB in 35 s, behind 50 steps",
        "1.7 %",
        "178 TB",
        "$8,901.98",
        "all devices in one place",
        "site 1 alone",
        "plain data parallelism",
        "14.2 x",
        "Charles et al. 2025",
    ):
        assert words in page, words


def test_devices_that_wait_are_said_to_wait() -> None:
    blocking = Exchange(name="blocking", inner_steps=100, bytes_per_parameter=2.0)
    assert "devices waiting" in text(result(exchange=blocking))


def test_an_unknown_price_is_said_and_null_in_the_document() -> None:
    unknown = result(price=None)
    assert "unknown: a site's price is not known" in text(unknown)
    assert multisite_view.document(unknown)["egress_usd"] is None


def test_the_document_is_json_without_infinities() -> None:
    sites = (Site(name="a", devices=1, step_s=0.01), Site(name="b", devices=1, step_s=0.01))
    every = Exchange(name="every step", inner_steps=1)
    hopeless = verdict(parameters=1e6, steps=1e4, sites=sites, link=Link(gbit_s=1.0, rtt_s=1.0), exchange=every)
    said = json.loads(machine.document(multisite_view.document(hopeless)))
    assert said["least_gbit_s"] is None
    assert said["worth_it"] is False
    assert "none: the round trips take longer" in text(hopeless)


def test_the_document_has_every_number_of_the_verdict() -> None:
    whole = multisite_view.document(result())
    for name in MultiSite.__dataclass_fields__:
        assert name in whole, name
    assert json.loads(machine.document(whole))["sites"][0]["devices"] == 1024


def test_several_accelerators_say_what_they_rest_on_once_and_one_that_cannot_says_why() -> None:
    refusal = Reason("sizing", ReasonCode.NO_FIT, "every site holds the whole model, and 4 x L4 do not")
    answers = (
        OnSites(accelerator="H100-SXM", result=result()),
        OnSites(accelerator="A100-80GB", result=result(gbit_s=1.0)),
        OnSites(accelerator="L4", result=refusal),
    )
    page = plain.render(tuple(multisite_view.several(answers)))
    assert page.count("multisite.link_share") == 1
    assert "2,048 x A100-80GB on 2 sites" in page
    assert refusal.detail in page
    said = [multisite_view.answer(each) for each in answers]
    assert [each["accelerator"] for each in said] == ["H100-SXM", "A100-80GB", "L4"]
    assert json.loads(machine.document(said))[2]["refusal"]["code"] == "no-fit"
    assert multisite_view.several(()) == []
