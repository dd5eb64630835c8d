"""The residency policy: in which jurisdictions the data may be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from orchestrator.domain.candidates import Candidates, PlanView, Refusals, Usd
from orchestrator.domain.contracts import PolicyContext
from orchestrator.domain.errors import ConfigError, UserError
from orchestrator.domain.network import Place
from orchestrator.domain.reason import ReasonCode
from orchestrator.domain.sites import Atlas, Sites
from orchestrator.domain.spelling import hint

NAME = "residency"
DEFAULTS: Mapping[str, float] = {}  # its settings are lists of jurisdictions, not numbers
SETTINGS = ("everybody", "teams")
WORD = re.compile(r"[A-Z]{2,4}")


class Rule(NamedTuple):
    """The data has to be in one of `where`; `why` says who wants that: "the job", "the data lies in Frankfurt"."""

    where: tuple[str, ...]
    why: str


class ResidencyPolicy:
    """Every rule that applies has to hold; a place whose jurisdictions nobody knows is refused, never guessed.

    The rules: `limits.residency`; `data.stays`, by which an offer's place has to share a jurisdiction with the place
    where the data lies (its country, or a union that both are in: EU, EEA); and of the settings `everybody` and
    `teams`, which a job can add to and not take from.
    """

    name = NAME
    enforces = frozenset({"residency", "data.stays"})

    def __init__(self, everybody: tuple[str, ...] = (), teams: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self._everybody = everybody
        self._teams = dict(teams or {})

    def refuse(self, view: PlanView, candidates: Candidates) -> Sequence[Refusals]:
        """RESIDENCY where the offer's place is outside what a rule allows, or unknown.

        Raises: UserError where data that stays lies nowhere known, and for a setting of the job.
        """
        atlas = Atlas(view.snapshot.network)
        rules = self._rules(view, atlas)
        if not rules:
            return ()
        sites = Sites.of(candidates.book)
        known = [_jurisdictions(atlas.site(provider, region)) for provider, region in sites.keys]
        return [_outside(rule, sites, known) for rule in rules]

    def price(self, view: PlanView, candidates: Candidates) -> Mapping[str, Usd]:
        """Nothing: the law has no price."""
        return {}

    def rewards_speed(self, view: PlanView) -> frozenset[str]:
        """Nothing: a place is where it is."""
        return frozenset()

    def _rules(self, view: PlanView, atlas: Atlas) -> tuple[Rule, ...]:
        workload = view.workload
        for setting in workload.settings:
            if setting.policy == NAME:
                raise UserError(
                    f"policy '{NAME}': '{setting.name}' is for the configuration file; a job says limits.residency"
                )
        team = self._teams.get(workload.team, ()) if workload.team else ()
        given = (
            Rule(workload.limits.residency, "the job"),
            Rule(self._everybody, "the settings"),
            Rule(team, f"the settings for team {workload.team}"),
        )
        rules = [rule for rule in given if rule.where]
        if workload.data.stays:
            rules.append(_origin(workload.data.location, atlas))
        return tuple(rules)


def _origin(location: str, atlas: Atlas) -> Rule:
    """Where data that stays may be: the jurisdictions of the place where it lies."""
    if not location:
        raise UserError("data.stays needs to know where the data lies: set data.location")
    names = _jurisdictions(atlas.place(location))
    if not names:
        near = (
            hint(location, atlas.similar(location)) if atlas.similar(location) else "name a provider/region or a city"
        )
        raise UserError(f"data.stays: nobody knows the jurisdictions of data.location '{location}'; {near}")
    return Rule(names, f"the data stays where it lies, {location}")


def _outside(rule: Rule, sites: Sites, known: Sequence[tuple[str, ...]]) -> Refusals:
    allowed = {name.casefold() for name in rule.where}
    outside = np.array([not any(name.casefold() in allowed for name in names) for names in known], np.bool_)
    sentences = tuple(
        _sentence(provider, region, names, rule) for (provider, region), names in zip(sites.keys, known, strict=True)
    )
    figure = sites.index.astype(np.float64)
    refused = outside[sites.index] if len(outside) else np.zeros(len(figure), np.bool_)
    return Refusals(ReasonCode.RESIDENCY, refused, "", figure, sentences)


def _jurisdictions(place: Place | None) -> tuple[str, ...]:
    """The country and the unions it is in; none where nobody knows."""
    if place is None:
        return ()
    return tuple(name for name in dict.fromkeys((place.country, *place.jurisdictions)) if name)


def _sentence(provider: str, region: str, names: Iterable[str], rule: Rule) -> str:
    wanted = f"the data must stay in {', '.join(rule.where)}"
    if rule.why != "the job":
        wanted += f" ({rule.why})"
    if not names:
        return f"the jurisdiction of {provider}/{region} is unknown; {wanted}"
    return f"{region} is in {', '.join(names)}; {wanted}"


def create(context: PolicyContext) -> ResidencyPolicy:
    """The policy with the configuration file's rules: `everybody = ["EU"]`, `teams = {health = ["DE"]}`.

    Raises: ConfigError for a setting it does not have or cannot read.
    """
    for name in context.settings:
        if name not in SETTINGS:
            raise ConfigError(f"policy {NAME} has no setting '{name}'; {hint(name, SETTINGS)}")
    teams = context.settings.get("teams", {})
    if not isinstance(teams, Mapping):
        raise ConfigError(f"policy {NAME}: teams is a table of teams and their jurisdictions, not {teams!r}")
    return ResidencyPolicy(
        _words("everybody", context.settings.get("everybody", ())),
        {str(team): _words(f"teams.{team}", where) for team, where in teams.items()},
    )


def _words(name: str, value: object) -> tuple[str, ...]:
    listed = (value,) if isinstance(value, str) else value
    words = tuple(listed) if isinstance(listed, list | tuple) else (value,)
    for word in words:
        if not isinstance(word, str) or not WORD.fullmatch(word.upper()):
            raise ConfigError(f"policy {NAME}: {name} lists jurisdictions (EU, EEA or ISO country codes), not {word!r}")
    return tuple(word.upper() for word in words if isinstance(word, str))
