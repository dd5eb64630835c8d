"""The composition root: the only module that wires settings, adapters and effects together."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import credentials, registry
from orchestrator.catalog import accelerators, market, network
from orchestrator.config import Settings
from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.contracts import (
    Clock,
    Launcher,
    LauncherContext,
    Policy,
    PolicyContext,
    Provider,
    ProviderContext,
    Store,
)
from orchestrator.domain.errors import ConfigError, MissingCredentials
from orchestrator.domain.network import Network
from orchestrator.domain.offerbook import OfferBook
from orchestrator.domain.plan import Plan
from orchestrator.domain.snapshot import Gap, Snapshot
from orchestrator.domain.spelling import hint
from orchestrator.domain.workload import Workload
from orchestrator.inventory import snapshot as inventory
from orchestrator.planning.plan import PlanOptions, plan
from orchestrator.runtime.clock import SystemClock
from orchestrator.sizing import parameters
from orchestrator.sizing.parameters import Parameters

if TYPE_CHECKING:
    from orchestrator.catalog.agreements import Negotiated
    from orchestrator.domain.events import Event
    from orchestrator.domain.fleetplan import Quota
    from orchestrator.domain.network import Link
    from orchestrator.domain.standing import Commitment
    from orchestrator.inventory.refresh import Outcome, Watch
    from orchestrator.sizing.learning import Calibration

DEFAULT_CALIBRATION = "default"
NO_CALIBRATION = "none"
STORE = "store.db"
STANDING = "orchestrator.lifecycle.standing"
REFRESH, FEEDS = "orchestrator.inventory.refresh", "orchestrator.inventory.feeds"
LINKS = "orchestrator.inventory.links"
QUOTAS = "orchestrator.catalog.quotas"
AGREEMENTS, NEGOTIATING = "orchestrator.catalog.agreements", "orchestrator.catalog.negotiating"
STANDING_POLICIES = frozenset({"reliability", "spread"})  # they look at what is held and learned


@dataclass(frozen=True, slots=True)
class App:
    """Parts made from settings on demand; keeps none of them, so a caller decides what lives how long."""

    settings: Settings
    clock: Clock = field(default_factory=SystemClock)

    def policies(self) -> tuple[Policy, ...]:
        """Every installed policy, in the order of names.

        Raises: ConfigError where the settings name a policy that is not installed.
        """
        factories = registry.policy_factories()
        for name in self.settings.policies:
            if name not in factories:
                raise ConfigError(f"no policy is called {name!r} (installed: {', '.join(factories)})")
        empty: Mapping[str, object] = {}
        return tuple(
            factory(PolicyContext(settings=self.settings.policies.get(name, empty)))
            for name, factory in factories.items()
        )

    def provider(self, name: str) -> Provider:
        """The provider `name` of the settings.

        Raises: ConfigError where it is not installed or its settings are wrong, MissingCredentials.
        """
        context = ProviderContext(
            owner=self.settings.owner,
            settings=self.settings.providers[name],
            secret=credentials.resolve,
            clock=self.clock,
            state_dir=_folder(self.settings.home / "providers" / name),
        )
        provider = registry.provider_factory(name)(context)
        prices = self.negotiated()
        if not prices:
            return provider
        agreed: Provider = importlib.import_module(NEGOTIATING).negotiating(provider, prices)
        return agreed

    def providers(self) -> tuple[dict[str, Provider], tuple[Gap, ...]]:
        """Every provider that is on and has credentials; the others as gaps."""
        found: dict[str, Provider] = {}
        gaps: list[Gap] = []
        for name in self.settings.providers:
            try:
                found[name] = self.provider(name)
            except MissingCredentials as error:
                gaps.append(Gap(name, f"no credentials: {error}"))
        return found, tuple(gaps)

    def launchers(self) -> dict[str, Launcher]:
        """Every installed launcher by name."""
        return {
            name: factory(
                LauncherContext(
                    secret=credentials.resolve,
                    clock=self.clock,
                    state_dir=_folder(self.settings.home / "launchers" / name),
                )
            )
            for name, factory in registry.launcher_factories().items()
        }

    def market(self) -> OfferBook:
        """The bundled price book with everything imported, at negotiated prices where there are any.

        Raises: ConfigError where the settings' prices are wrong.
        """
        listed, prices = market.read(self.settings.catalog_dir, self.settings.edition), self.negotiated()
        if not prices:
            return listed
        agreed: OfferBook = importlib.import_module(AGREEMENTS).negotiated(listed, prices)
        return agreed

    def negotiated(self) -> tuple[Negotiated, ...]:
        """The negotiated prices of the settings. Raises: ConfigError with the file and the key at fault."""
        tables = self.settings.prices
        if not tables:
            return ()  # as for most, who have no time to load what reads them
        prices: tuple[Negotiated, ...] = importlib.import_module(AGREEMENTS).read_prices(tables, self.settings.file)
        return prices

    def commitments(self) -> tuple[Commitment, ...]:
        """The capacity that the settings say is paid for. Raises: ConfigError with the file and the key at fault."""
        tables = self.settings.commitments
        if not tables:
            return ()
        agreements = importlib.import_module(AGREEMENTS)
        commitments: tuple[Commitment, ...] = agreements.read_commitments(tables, self.settings.file)
        return commitments

    def quotas(self) -> tuple[Quota, ...]:
        """What the settings say may be held at a time. Raises: ConfigError with the file and the key at fault."""
        tables = self.settings.quotas
        if not tables:
            return ()
        quotas: tuple[Quota, ...] = importlib.import_module(QUOTAS).read_quotas(tables, self.settings.file)
        return quotas

    def accelerators(self) -> tuple[Accelerator, ...]:
        """The bundled accelerator table."""
        return accelerators.load()

    def parameters(self, calibration: str | None = None) -> Parameters:
        """The bundled numbers of the sizing with the calibration called `calibration`, by default the settings' one.

        "none" is no calibration; without a setting it is the one called "default", where it exists.

        Raises: ConfigError where a calibration that is named does not exist, or is damaged.
        """
        folder, named = self.settings.calibrations_dir, calibration or self.settings.calibration
        if named == NO_CALIBRATION or (not named and not (folder / f"{DEFAULT_CALIBRATION}.json").exists()):
            return parameters.bundled()
        stored = importlib.import_module("orchestrator.catalog.calibrations")  # most have none, nor time to load it
        found: Calibration | None = stored.load(folder, named or DEFAULT_CALIBRATION)
        if found is None:
            raise ConfigError(f"no calibration is called {named!r} ({hint(named, stored.names(folder))})")
        applied: Parameters = stored.apply(parameters.bundled(), found)
        return applied

    def network(self) -> Network:
        """Places, links that were imported, and egress prices. Raises: ConfigError where an import is damaged."""
        bundled, folder = network.load(), self.settings.network_dir
        if not folder.is_dir():
            return bundled  # as for most, who have no time to load what reads imports
        imported: tuple[Link, ...] = importlib.import_module(LINKS).links(folder)
        return replace(bundled, links=imported)

    def snapshot(self, *, live: bool = True, buying: bool = False) -> Snapshot:
        """The market now: bundled and imported prices, and with `live` what the providers say; see `standing`."""
        providers, gaps = self.providers() if live else ({}, ())
        found = inventory.take(
            providers,
            base=self.market(),
            accelerators=self.accelerators(),
            network=self.network(),
            gaps=gaps,
            calibration=self.parameters().calibration(),
            clock=self.clock,
            deadline_s=self.settings.deadline_s,
        )
        return self.standing(found, buying=buying)

    def refresh(self, names: Sequence[str], *, patience_s: float, watch: Watch) -> tuple[Outcome, ...]:
        """Ask the providers called `names`, by default all that are on, for their prices, and keep them for plans.

        Prices are kept as listed: what is negotiated is taken off when the market is read. A provider that is named and
        not in the settings is asked with its default settings: price lists that everybody may read need no more.

        Raises: ConfigError where a provider is not installed or prices cannot be kept.
        """
        refreshing = importlib.import_module(REFRESH)
        tables = {name: self.settings.providers.get(name, {}) for name in names or self.settings.providers}
        found, gaps = replace(self, settings=replace(self.settings, providers=tables, prices=())).providers()
        asking = refreshing.Asking(
            folder=self.settings.catalog_dir, clock=self.clock, patience_s=patience_s, keep=refreshing.keep_live
        )
        done: tuple[Outcome, ...] = refreshing.refresh(refreshing.of_providers(found), asking, watch)
        return (*done, *(refreshing.failed(gap.provider, gap.detail) for gap in gaps))

    def refresh_from(self, feed: str, names: Sequence[str], *, patience_s: float, watch: Watch) -> tuple[Outcome, ...]:
        """Fetch the catalogues that gpuhunt publishes at `feed`, of the providers `names` or all, and keep them.

        They are kept as imports: what a catalogue says of a provider is not the provider's word.

        Raises: UserError for an address that is none or a provider that it has not; ConfigError as `refresh` does.
        """
        feeds = importlib.import_module(FEEDS)
        refreshing = importlib.import_module(REFRESH)
        asking = refreshing.Asking(
            folder=self.settings.catalog_dir, clock=self.clock, patience_s=patience_s, keep=feeds.keep
        )
        done: tuple[Outcome, ...] = refreshing.refresh(feeds.sources(feed, names, clock=self.clock), asking, watch)
        return done

    def standing(self, found: Snapshot, *, buying: bool = False) -> Snapshot:
        """`found` with what is committed and agreed, and what this state folder holds, has spent and has learned.

        Always for who buys; for a dry run where a budget, a score or a policy of the settings asks for it: most have
        none, nor time to read a history.

        Raises: ConfigError where the store cannot be opened.
        """
        settings, prices = self.settings, self.negotiated()
        if prices:
            unused = importlib.import_module(AGREEMENTS).idle(found.book, prices)
            found = replace(found, gaps=(*found.gaps, *(Gap(provider, detail) for provider, detail in unused)))
        if settings.commitments:
            found = replace(found, commitments=self.commitments())
        asked = (
            settings.budgets
            or settings.reliability
            or settings.commitments
            or settings.quotas
            or not STANDING_POLICIES.isdisjoint(settings.policies)
        )
        if not (buying or asked):
            return found
        history = importlib.import_module(STANDING)
        complete: Snapshot = history.standing(
            found, self._events(), purses=settings.budgets, configured=settings.reliability
        )
        return complete

    def _events(self) -> list[Event]:
        """All that was stored so far."""
        if not (self.settings.store_url or (self.settings.home / STORE).exists()):
            return []
        store = self.store()
        try:
            return [recorded.event for recorded in store.events()]
        finally:
            store.close()

    def plan(self, workload: Workload, snapshot: Snapshot, options: PlanOptions | None = None) -> Plan:
        """The pure planner with the installed policies."""
        chosen = options or PlanOptions(max_price_age_s=self.settings.max_price_age_s)
        return plan(workload, snapshot, self.policies(), replace(chosen, approval=self.settings.approval))

    def plan_to_buy(self, workload: Workload) -> Plan:
        """A plan on a fresh snapshot among what can be bought: the controller's planner."""
        options = PlanOptions(buyable_only=True, max_price_age_s=self.settings.max_price_age_s)
        return self.plan(workload, self.snapshot(buying=True), options)

    def store(self) -> Store:
        """The event store of the settings. Raises: ConfigError where it cannot be opened."""
        runtime = importlib.import_module("orchestrator.runtime.store")  # a plan needs no store, nor time to load one
        store: Store = runtime.open_store(self.settings.store_url or str(self.settings.home / STORE))
        return store


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"the folder {path} cannot be made: {error.strerror or error}") from error
    return path
