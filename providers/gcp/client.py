"""The talk with Google Cloud through its own SDK, and the only place that sees the SDK's exceptions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from google.cloud import billing_v1, compute_v1

from orchestrator.domain.contracts import Clock
from orchestrator.domain.errors import AuthError, CapacityError, TransientError
from orchestrator.kit.paging import pages
from orchestrator.kit.tags import OWNER
from providers.gcp.errors import RAISED, Conflict, NotThere, ours
from providers.gcp.prices import Sku
from providers.gcp.rows import Advice, Instance, Operation, Quota, Rule
from providers.gcp.session import Session
from providers.gcp.settings import GcpSettings
from providers.gcp.shapes import N1, NAME, USUAL_HOSTS, MachineType

COMPUTE_ENGINE = "services/6F81-5844-456A"
TIMEOUT_S = 20.0
WAIT_S = 130.0  # of a wait for an operation, which Google holds for up to two minutes
ATTEMPTS = 4  # of a read
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0
TAKEN_BACK = "compute.instances.(preempted|hostError)"  # types of operations, as a regular expression


class Client:
    """One project. Every method raises AuthError, TransientError; those that buy CapacityError, QuotaError as well."""

    def __init__(self, settings: GcpSettings, session: Session, clock: Clock) -> None:
        self._settings, self._session, self._clock = settings, session, clock
        self._project = settings.project

    # What is on sale

    def machine_types(self) -> tuple[list[MachineType], list[str]]:
        """Those of the families asked for that are not out of date, and the zones that did not answer."""
        found, silent = [], []
        for page in self._listed(
            "machine types", lambda: self._session.machine_types, self._sold(), "AggregatedListMachineTypesRequest"
        ):
            silent += _silent(page)
            for scope, listed in page.items.items():
                found += [_machine_type(scope, item) for item in listed.machine_types if not item.deprecated.state]
        return found, silent

    def _sold(self) -> str:
        """A filter for the families asked for; of N1, the hosts that GPUs are attached to."""
        own = "|".join(family for family in self._settings.families if family != N1)
        wanted = [f"({own})-.*"] if own else []
        if N1 in self._settings.families:
            hosts = sorted({host for usual in USUAL_HOSTS.values() for host in usual.values()})
            wanted.append("|".join(hosts))
        return f'name eq "{"|".join(wanted)}"'

    def accelerator_types(self) -> Mapping[str, frozenset[str]]:
        """Names of accelerator types by zone."""
        found: dict[str, frozenset[str]] = {}
        for page in self._listed(
            "accelerators", lambda: self._session.accelerator_types, "", "AggregatedListAcceleratorTypesRequest"
        ):
            for scope, listed in page.items.items():
                names = frozenset(item.name for item in listed.accelerator_types if not item.deprecated.state)
                found[_last(scope)] = found.get(_last(scope), frozenset()) | names
        return found

    def skus(self) -> Iterator[Sku]:
        """Every price of Compute Engine."""

        def fetch(token: str) -> Any:
            request = billing_v1.ListSkusRequest(
                parent=COMPUTE_ENGINE, page_size=5000, page_token=token, currency_code="USD"
            )
            page = self._page("price list", lambda: self._session.catalogue.list_skus, request)
            if not token and not page.skus:
                raise TransientError(NAME, "price list: it is empty", 30.0)
            return page

        for page in pages(NAME, fetch, lambda page: page.next_page_token):
            yield from map(_sku, page.skus)

    def quotas(self) -> list[Quota]:
        """Of the regions and of the project."""
        found: list[Quota] = []
        for page in self._listed(
            "quotas of regions", lambda: self._session.regions, "", "ListRegionsRequest", verb="list"
        ):
            found += [_quota(item, region.name) for region in page.items for item in region.quotas]
        request = compute_v1.GetProjectRequest(project=self._project)
        project = self._read("quotas of the project", lambda: self._session.projects.get, request)
        return [*found, *(_quota(item, "") for item in project.quotas)]

    @property
    def can_advise(self) -> bool:
        """Whether the installed SDK can ask for advice on capacity."""
        return self._session.advice is not None

    def advice(self, region: str, machine_type: str) -> Advice | None:
        """On one spot machine in the region; None where Google says nothing. Only where `can_advise`."""
        body = compute_v1.CapacityAdviceRequest(
            {
                "size": 1,
                "instance_properties": {"scheduling": {"provisioning_model": "SPOT"}},
                "instance_flexibility_policy": {"instance_selections": {"only": {"machine_types": [machine_type]}}},
                "distribution_policy": {"target_shape": "ANY_SINGLE_ZONE"},
            }
        )
        request = compute_v1.CapacityAdviceRpcRequest(
            project=self._project, region=region, capacity_advice_request_resource=body
        )
        answer = self._read(f"advice on {machine_type} in {region}", lambda: self._session.advice.capacity, request)
        for recommended in answer.recommendations:
            for shard in recommended.shards:
                return Advice(_last(shard.zone), shard.machine_type or machine_type, recommended.scores.obtainability)
        return None

    # Machines

    def insert(self, zone: str, body: Mapping[str, Any], request_id: str) -> Operation:
        """Order a machine. Raises: Conflict where the name is taken."""
        request = compute_v1.InsertInstanceRequest(
            project=self._project, zone=zone, instance_resource=compute_v1.Instance(body), request_id=request_id
        )
        try:
            return _operation(
                self._write(f"insert {body['name']}", lambda: self._session.instances.insert_unary, request)
            )
        except NotThere as error:  # the zone or the machine type
            raise CapacityError(NAME, str(error)) from error

    def delete(self, zone: str, name: str, request_id: str) -> bool:
        """Have a machine deleted; False where it is gone already."""
        request = compute_v1.DeleteInstanceRequest(
            project=self._project, zone=zone, instance=name, request_id=request_id
        )
        try:
            self._write(f"delete {name}", lambda: self._session.instances.delete_unary, request)
        except NotThere as error:
            if name in error.resource:
                return False
            raise AuthError(NAME, f"{error}; is there a project {self._project}?") from error
        except (CapacityError, Conflict) as error:  # "the resource is not ready"
            raise TransientError(NAME, str(error), 5.0) from error
        return True

    def instance(self, zone: str, name: str) -> Instance | None:
        """One machine, by a read that sees every purchase at once; None where there is none."""
        request = compute_v1.GetInstanceRequest(project=self._project, zone=zone, instance=name)
        try:
            return _instance(self._read(f"get {name}", lambda: self._session.instances.get, request, sound="kind"))
        except NotThere as error:
            if name in error.resource:
                return None
            raise AuthError(NAME, f"{error}; is there a project {self._project}?") from error

    def instances(self, owner: str) -> list[Instance]:
        """Every machine with the owner's label. Raises: TransientError also where a zone did not answer."""
        found: list[Instance] = []
        expression = f'labels.{OWNER}="{owner}"'
        for page in self._listed(
            "machines", lambda: self._session.instances, expression, "AggregatedListInstancesRequest"
        ):
            if silent := _silent(page):
                raise TransientError(NAME, f"machines: no answer from {', '.join(silent)}", 10.0)
            found += [_instance(item) for listed in page.items.values() for item in listed.instances]
        return found

    def operation(self, known: Operation) -> Operation:
        """How the operation stands, waiting for it for as long as Google does."""
        if known.zone:
            request = compute_v1.WaitZoneOperationRequest(project=self._project, zone=known.zone, operation=known.name)
            answer = self._read(known.name, lambda: self._session.zone_operations.wait, request, timeout_s=WAIT_S)
        else:
            request = compute_v1.WaitGlobalOperationRequest(project=self._project, operation=known.name)
            answer = self._read(known.name, lambda: self._session.global_operations.wait, request, timeout_s=WAIT_S)
        return _operation(answer)

    def preempted(self) -> Mapping[str, datetime]:
        """When Google began to take machines back, or their hosts failed, by their numbers."""
        found: dict[str, datetime] = {}
        expression = f'operationType eq "{TAKEN_BACK}"'
        for page in self._listed(
            "preemptions", lambda: self._session.global_operations, expression, "AggregatedListGlobalOperationsRequest"
        ):
            for listed in page.items.values():
                for item in listed.operations:
                    if item.insert_time:
                        found[str(item.target_id)] = _moment(item.insert_time)
        return found

    # The firewall

    def rule(self, name: str) -> Rule | None:
        """A firewall rule; None where there is none."""
        request = compute_v1.GetFirewallRequest(project=self._project, firewall=name)
        try:
            found = self._read(f"firewall rule {name}", lambda: self._session.firewalls.get, request, sound="name")
        except NotThere:
            return None
        ports = tuple(port for allowed in found.allowed for port in allowed.ports)
        return Rule(tuple(found.source_ranges), tuple(found.target_tags), ports, found.network)

    def set_rule(self, name: str, rule: Rule, *, exists: bool) -> Operation | None:
        """Make or change a firewall rule; None where somebody made it meanwhile."""
        body = compute_v1.Firewall(
            {
                "name": name,
                "network": rule.network,
                "direction": "INGRESS",
                "description": "Lets isoflop's control plane log in to the machines that it bought",
                "source_ranges": list(rule.sources),
                "target_tags": list(rule.tags),
                "allowed": [{"I_p_protocol": "tcp", "ports": list(rule.ports)}],
            }
        )
        try:
            if exists:
                change = compute_v1.PatchFirewallRequest(project=self._project, firewall=name, firewall_resource=body)
                return _operation(self._write(f"change {name}", lambda: self._session.firewalls.patch_unary, change))
            request = compute_v1.InsertFirewallRequest(project=self._project, firewall_resource=body)
            return _operation(self._write(f"make {name}", lambda: self._session.firewalls.insert_unary, request))
        except Conflict:
            return None
        except NotThere as error:
            raise CapacityError(NAME, f"{error}; is the network {rule.network} there?") from error

    # Calls

    def _listed(
        self, what: str, client: Callable[[], Any], expression: str, request: str, *, verb: str = "aggregated_list"
    ) -> Iterator[Any]:
        """Every page of a list. An answer that does not say what kind of list it is is none."""
        made = getattr(compute_v1, request)

        def fetch(token: str) -> Any:
            asked = made(project=self._project, filter=expression, page_token=token)
            page = self._page(what, lambda: getattr(client(), verb), asked)
            if not page.kind:
                raise TransientError(NAME, f"{what}: the answer is no list", 30.0)
            return page

        return pages(NAME, fetch, lambda page: page.next_page_token)

    def _page(self, what: str, method: Callable[[], Callable[..., Any]], request: Any) -> Any:
        """One page as it came: the SDK's own reader of all pages does not see that they go round in a circle.

        The message beneath the SDK's wrapper, which takes ten times as long to read: price lists have 40 000 rows.
        """
        try:
            page = next(iter(self._read(what, method, request).pages))
            return type(page).pb(page)
        except NotThere as error:
            raise AuthError(NAME, f"{error}; is there a project {self._project}?") from error

    def _read(
        self,
        what: str,
        method: Callable[[], Callable[..., Any]],
        request: Any,
        *,
        sound: str = "",
        timeout_s: float = TIMEOUT_S,
    ) -> Any:
        """Call, again where that may help and as long after as Google asks; `sound` is a field that is never empty."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = self._call(what, method, request, timeout_s)
                if sound and not getattr(answer, sound):
                    raise TransientError(NAME, f"{what}: the answer is something else", 5.0)
            except CapacityError as error:
                raise TransientError(NAME, error.detail, 60.0) from error
            except TransientError as error:
                if attempt == ATTEMPTS or error.retry_after_s > LONGEST_WAIT_S:
                    raise
                self._clock.sleep(max(error.retry_after_s, FIRST_WAIT_S * 2 ** (attempt - 1)))
            else:
                return answer
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _write(self, what: str, method: Callable[[], Callable[..., Any]], request: Any) -> Any:
        """Call once: after a TransientError the effect is in doubt."""
        answer = self._call(what, method, request, TIMEOUT_S)
        if not answer.name:
            raise TransientError(NAME, f"{what}: the answer is no operation", 5.0)
        return answer

    def _call(self, what: str, method: Callable[[], Callable[..., Any]], request: Any, timeout_s: float) -> Any:
        try:
            return method()(request=request, retry=None, timeout=timeout_s)
        except RAISED as error:
            raise ours(error, what, self._clock.now()) from error


def _last(url: str) -> str:
    return url.rpartition("/")[2]


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError as error:
        raise TransientError(NAME, f"{text[:40]!r} is no time", 30.0) from error


def _silent(page: Any) -> list[str]:
    """Scopes that Google could not ask."""
    warned = [scope for scope, listed in page.items.items() if listed.warning.code == "UNREACHABLE"]
    return [_last(scope) for scope in (*warned, *page.unreachables)]


def _machine_type(scope: str, item: Any) -> MachineType:
    own = item.accelerators[0] if item.accelerators else None
    return MachineType(
        zone=_last(scope),
        name=item.name,
        cpus=item.guest_cpus,
        memory_mb=item.memory_mb,
        accelerator=own.guest_accelerator_type if own else "",
        cards=own.guest_accelerator_count if own else 0,
        ssds=item.bundled_local_ssds.partition_count,
    )


def _sku(item: Any) -> Sku:
    newest = max(item.pricing_info, key=lambda info: info.effective_time.seconds, default=None)
    unit, currency, nanos = "", "USD", None
    if newest is not None:
        tiers = newest.pricing_expression.tiered_rates
        unit = newest.pricing_expression.usage_unit
        if len(tiers) == 1:
            price = tiers[0].unit_price
            currency, nanos = price.currency_code, price.units * 10**9 + price.nanos
    return Sku(item.description, item.category.usage_type, tuple(item.service_regions), unit, currency, nanos)


def _quota(item: Any, region: str) -> Quota:
    return Quota(item.metric, region, item.limit, item.usage)


def _operation(item: Any) -> Operation:
    error = item.error.errors[0] if item.error.errors else None
    return Operation(
        zone=_last(item.zone),
        name=item.name,
        done=item.status == compute_v1.Operation.Status.DONE,
        target=str(item.target_id),
        began=_moment(item.insert_time) if item.insert_time else None,
        code=error.code if error else "",
        message=error.message if error else "",
    )


def _instance(item: Any) -> Instance:
    interface = item.network_interfaces[0] if item.network_interfaces else None
    public = [config.nat_i_p for config in interface.access_configs if config.nat_i_p] if interface else []
    private = interface.network_i_p if interface else ""
    return Instance(
        zone=_last(item.zone),
        name=item.name,
        number=str(item.id),
        status=item.status,
        created=_moment(item.creation_timestamp),
        spot=item.scheduling.provisioning_model == "SPOT",
        labels=dict(item.labels),
        metadata={entry.key: entry.value for entry in item.metadata.items},
        address=public[0] if public else private,
    )
