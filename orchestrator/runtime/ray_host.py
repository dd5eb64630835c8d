"""The controller, one process per provider account and a pool of workers on Ray; the only module that imports ray."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, cast

import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, OutOfMemoryError, RayActorError, RayError, WorkerCrashedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.contracts import DescribesAccelerators, MeasuresLinks, Provider, Survey, survey
from orchestrator.domain.errors import AuthError, ConfigError, IsoflopError, MissingCredentials, TransientError
from orchestrator.domain.network import Link, Place
from orchestrator.runtime.gateway import Answer, Request, perform
from orchestrator.runtime.log import log_to

LOG = logging.getLogger(__name__)
OBJECT_STORE_BYTES = 80 * 2**20  # messages are small: Ray's default is a third of the machine's memory
CALLS_AT_ONCE = 8  # per provider
START_S = 60.0
CRASH_PAUSE_S = 2.0  # before a crashed controller makes way for its successor: no hot loop
CHANGED_BY_RAY = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")

Value = TypeVar("Value")
Argument = TypeVar("Argument")
Actor: TypeAlias = "ActorHandle[Any]"


@dataclass(frozen=True, slots=True)
class Ok(Generic[Value]):
    """A call that returned."""

    value: Value


@dataclass(frozen=True, slots=True)
class Err:
    """A call that raised one of our errors: as a value, for Ray wraps what an actor raises."""

    error: IsoflopError


Outcome: TypeAlias = Ok[Value] | Err


@dataclass(frozen=True, slots=True)
class ControllerStatus:
    """What the controller's process says of itself."""

    pid: int
    running: bool


class Controlling(Protocol):
    """What the controller's actor needs of a controller."""

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; give the leader lease up at the end."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the actors run, as functions that make it in the actor's own process: settings travel, secrets never do.

    The functions are module-level ones or partials of such, for they are pickled by name.
    """

    log: Path
    environment: Mapping[str, str | None]  # what Ray changes for its workers, as it was
    providers: Mapping[str, Callable[[], Provider]]
    controller: Callable[[RayGateway], Controlling]


class ProviderActor:
    """One provider account in a process of its own: its credentials, its rate limits and its SDK's faults."""

    def __init__(self, name: str, make: Callable[[], Provider]) -> None:
        self._name = name
        self._make = make
        self._lock = threading.Lock()
        self._provider: Provider | None = None

    def call(self, request: Request) -> Outcome[Answer]:
        """One of the controller's requests."""
        return self._attempt(lambda provider: perform(provider, request))

    def survey(self) -> Outcome[Survey]:
        """What is on sale, and what is missing of it."""
        return self._attempt(survey)

    def accelerators(self) -> Outcome[tuple[Accelerator, ...]]:
        """Devices that no public table knows."""
        return self._attempt(lambda made: tuple(made.accelerators()) if isinstance(made, DescribesAccelerators) else ())

    def places(self) -> Outcome[tuple[Place, ...]]:
        """Where its regions are, as far as it says."""
        return self._attempt(lambda made: tuple(made.places()) if isinstance(made, MeasuresLinks) else ())

    def links(self) -> Outcome[tuple[Link, ...]]:
        """What it measured of the network."""
        return self._attempt(lambda made: tuple(made.links()) if isinstance(made, MeasuresLinks) else ())

    def _attempt(self, work: Callable[[Provider], Value]) -> Outcome[Value]:
        try:
            return Ok(work(self._made()))
        except (MissingCredentials, ConfigError) as error:
            # To the controller both are an account that cannot be used until somebody mends it.
            return Err(AuthError(self._name, str(error)))
        except IsoflopError as error:
            return Err(error)

    def _made(self) -> Provider:
        with self._lock:
            if self._provider is None:
                self._provider = self._make()
            return self._provider


class RayGateway:
    """Gateway to provider actors: a call is waited for as long as its deadline and then left to itself."""

    def __init__(self, actors: Mapping[str, Actor]) -> None:
        self._actors = dict(actors)
        self._overdue = dict.fromkeys(actors, 0)

    def names(self) -> tuple[str, ...]:
        """The providers that can be called, sorted."""
        return tuple(sorted(self._actors))

    def call(self, provider: str, request: Request, *, timeout_s: float) -> Answer:
        """See Gateway."""
        return cast(Answer, self.ask(provider, "call", request, timeout_s=timeout_s))

    def ask(self, provider: str, method: str, *arguments: object, timeout_s: float) -> object:
        """Call any method of the provider's actor. Raises: as Gateway.call."""
        actor = self._actors.get(provider)
        if actor is None:
            raise ConfigError(f"no provider called {provider!r} is configured: add it to the configuration file")
        try:
            outcome = _call(actor, method, *arguments, timeout_s=timeout_s)
        except GetTimeoutError:
            self._note_overdue(provider, actor)
            raise TransientError(provider, f"no answer within {timeout_s:g} s") from None
        except RayActorError as error:
            raise TransientError(provider, "its process ended and is started again") from error
        self._overdue[provider] = 0
        if isinstance(outcome, Err):
            raise outcome.error
        return cast(Ok[object], outcome).value

    def _note_overdue(self, provider: str, actor: Actor) -> None:
        """An actor whose every thread hangs in its SDK can only be started again; tokens make that safe."""
        self._overdue[provider] += 1
        if self._overdue[provider] >= CALLS_AT_ONCE:
            self._overdue[provider] = 0
            LOG.warning("provider %s hangs: its process is started again", provider)
            ray.kill(actor, no_restart=False)


class ControllerActor:
    """Runs the controller in a thread. Holds no truth: a successor starts from the store."""

    def __init__(
        self,
        make: Callable[[RayGateway], Controlling],
        actors: Mapping[str, Actor],
        log: Path,
        environment: Mapping[str, str | None],
    ) -> None:
        log_to(log)
        self._make = make
        self._gateway = RayGateway(actors)
        self._stop = threading.Event()
        self._error: IsoflopError | None = None
        # Here and not in the thread: launchers look at the environment, and Ray changes it around every later call.
        _restore(environment)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # Ray blocks it, and jobs inherit the mask
        self._controller = self._made()
        self._thread = threading.Thread(target=self._run, name="controller", daemon=True)
        self._thread.start()

    def begun(self) -> Outcome[ControllerStatus]:
        """Whether the controller was made, or could not be for a reason that the user can mend."""
        return Ok(self.status()) if self._error is None else Err(self._error)

    def status(self) -> ControllerStatus:
        """Who runs the controller."""
        return ControllerStatus(pid=os.getpid(), running=self._thread.is_alive() and self._error is None)

    def stop(self, timeout_s: float) -> bool:
        """End after the tick at hand and give the leader lease up; False where that takes longer than `timeout_s`."""
        self._stop.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while self._controller is None and not self._stop.wait(CRASH_PAUSE_S):
                self._controller = self._made()
            if self._controller is not None:
                self._controller.run(self._stop)
        except BaseException:  # whatever it was: log it, and let a successor begin with a clean memory
            LOG.critical("the controller failed and is started again", exc_info=True)
            time.sleep(CRASH_PAUSE_S)
            os._exit(1)

    def _made(self) -> Controlling | None:
        try:
            controller = self._make(self._gateway)
        except IsoflopError as error:
            LOG.error("the controller cannot start: %s", error)
            self._error = error
            return None
        self._error = None
        return controller


class RayHost:
    """A Ray of our own, or one that was joined, with the actors of one control plane on this node."""

    def __init__(self, *, namespace: str, address: str | None, folder: Path) -> None:
        """Start Ray with its files in `folder`, or join the cluster at `address`, where others may have namespaces too.

        Call it in the main thread: an embedded Ray ends with the thread that started it.
        Raises: ConfigError where Ray cannot be started or joined.
        """
        self._joined = address is not None
        self._controller: Actor | None = None
        self._actors: dict[str, Actor] = {}
        try:
            if address is None:
                _begin(namespace, folder, cpus=0)
            else:
                ray.init(address=address, namespace=namespace, log_to_driver=False, configure_logging=False)
        except (RayError, OSError, ValueError, RuntimeError) as error:
            where = "Ray cannot be started" if address is None else f"no Ray cluster can be joined at {address}"
            raise ConfigError(f"{where}: {error}") from error

    def start(self, parts: Parts) -> None:
        """Start the actors and wait for the controller's first answer.

        Raises: ConfigError where it does not come up.
        """
        if self._joined:
            self._clear(parts)
        providers = {
            name: self._create(ProviderActor, f"provider-{name}", name, make) for name, make in parts.providers.items()
        }
        controller = self._create(
            ControllerActor, "controller", parts.controller, providers, parts.log, parts.environment
        )
        try:
            outcome = _call(controller, "begun", timeout_s=START_S)
        except RayError as error:
            raise ConfigError(f"the controller does not start: {error}") from error
        if isinstance(outcome, Err):
            raise outcome.error
        self._controller = controller

    def status(self, *, timeout_s: float) -> ControllerStatus:
        """How the controller is. Raises: TransientError where it does not answer, being restarted perhaps."""
        if self._controller is None:
            raise TransientError("controller", "not started yet")
        try:
            return cast(ControllerStatus, _call(self._controller, "status", timeout_s=timeout_s))
        except GetTimeoutError:
            raise TransientError("controller", f"no answer within {timeout_s:g} s") from None
        except RayError as error:
            raise TransientError("controller", str(error).splitlines()[0]) from error

    def stop(self, *, grace_s: float) -> None:
        """End the controller gently, then the actors, and the Ray that is ours; one that was joined goes on."""
        if self._controller is not None:
            with contextlib.suppress(RayError):
                _call(self._controller, "stop", grace_s, timeout_s=grace_s + 2)
        for actor in self._actors.values():
            with contextlib.suppress(RayError):
                ray.kill(actor)
        ray.shutdown()

    def _create(self, kind: type[object], name: str, *arguments: object) -> Actor:
        options: dict[str, object] = {
            "name": name,
            "lifetime": "detached",
            "max_restarts": -1,
            "num_cpus": 0,
            "max_concurrency": CALLS_AT_ONCE,
            # The state folder, the store and the sites' keys are on this machine.
            "scheduling_strategy": NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False),
        }
        if self._joined:
            options["runtime_env"] = {"py_executable": sys.executable, "env_vars": dict(ACTOR_ENVIRONMENT)}
        made = cast(Actor, ray.remote(kind).options(**options).remote(*arguments))
        self._actors[name] = made
        return made

    def _clear(self, parts: Parts) -> None:
        """End what an earlier control plane of this state folder left in the cluster; wait for the names."""
        names = ["controller", *(f"provider-{name}" for name in parts.providers)]
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            left = [actor for actor in map(_found, names) if actor is not None]
            if not left:
                return
            for actor in left:
                with contextlib.suppress(RayError):
                    ray.kill(actor)
            time.sleep(0.2)
        raise ConfigError("the Ray cluster still holds actors of an earlier control plane of this state folder")


class RayPool:
    """A `map` over worker processes of a Ray of our own."""

    def __init__(self, workers: int, folder: Path) -> None:
        """Start Ray with its files in `folder`. Call it in the main thread. Raises: ConfigError."""
        try:
            _begin(f"isoflop-workers-{os.getpid()}", folder, cpus=workers)
        except (RayError, OSError, ValueError, RuntimeError) as error:
            raise ConfigError(f"Ray cannot be started: {error}; go on with one worker") from error

    def map(self, function: Callable[[Argument], Value], arguments: Iterable[Argument], /) -> list[Value]:
        """The function of every argument, at the same time; in this process where a worker is lost."""
        tasks = list(arguments)
        run: Any = ray.remote(num_cpus=1)(_applied)
        waited = [run.remote(function, task) for task in tasks]
        return [_got(reference, function, task) for reference, task in zip(waited, tasks, strict=True)]

    def close(self) -> None:
        """End the Ray that is ours."""
        ray.shutdown()


def _applied(function: Callable[[Argument], Value], argument: Argument) -> Value:
    return function(argument)


def _got(reference: ray.ObjectRef[Any], function: Callable[[Argument], Value], argument: Argument) -> Value:
    try:
        return cast(Value, ray.get(reference))
    except (WorkerCrashedError, OutOfMemoryError):
        LOG.warning("a worker was lost: its task is done in this process")
        return function(argument)


def _begin(namespace: str, folder: Path, *, cpus: int) -> None:
    ray.init(
        address="local",  # without it Ray joins whatever a stale file of an earlier cluster names
        namespace=namespace,
        num_cpus=cpus,
        num_gpus=0,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        object_store_memory=OBJECT_STORE_BYTES,
        _temp_dir=str(folder),
    )


ACTOR_ENVIRONMENT: Mapping[str, str] = {
    # Jobs are children of the controller and must outlive it.
    "RAY_kill_child_processes_on_worker_exit": "0",
}


def environment() -> dict[str, str | None]:
    """What Ray may change for its workers, as it is in this process: what jobs are to see."""
    return {name: os.environ.get(name) for name in CHANGED_BY_RAY}


def _restore(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _call(actor: Actor, method: str, *arguments: object, timeout_s: float) -> object:
    return ray.get(getattr(actor, method).remote(*arguments), timeout=timeout_s)


def _found(name: str) -> Actor | None:
    try:
        return ray.get_actor(name)
    except ValueError:
        return None
