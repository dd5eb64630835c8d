"""Every host asked at once: who answers, who has been silent for how long, and what hardware is remembered."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from orchestrator.domain.contracts import Clock
from orchestrator.domain.errors import AuthError, ProviderError, TransientError
from orchestrator.kit.fanout import ask
from providers.ssh.client import Answer, Client
from providers.ssh.fleet import Fleet
from providers.ssh.journal import Journal, Record, load_record
from providers.ssh.settings import NAME, SshSettings
from providers.ssh.translate import Hardware, hardware

HARDWARE = "hardware"
MOST_AT_ONCE = 64


class Silence(NamedTuple):
    """A host that does not answer: since when, as far as we saw, when it was asked last, and what it said."""

    since: datetime
    asked: datetime
    error: ProviderError


class View(NamedTuple):
    """One look at a fleet, by host."""

    answers: Mapping[str, Answer]
    silent: Mapping[str, Silence]
    hardware: Mapping[str, Hardware]  # also of silent hosts, as last seen
    probed_at: Mapping[str, datetime]
    lost: frozenset[str]  # silent for so long, while others answered, that they are given up

    def record(self, name: str) -> Record | None:
        """The lease whose lock the host has; None where it has none, or one that nobody can read."""
        answer = self.answers.get(name)
        if answer is None or answer.lock is None:
            return None
        try:
            return load_record(answer.lock)
        except ValueError:
            return None

    def holds(self, name: str, lease_id: str) -> bool | None:
        """Whether the host is locked for the lease; None where it does not answer, or its lock cannot be read."""
        if name not in self.answers:
            return None
        if self.answers[name].lock is None:
            return False
        found = self.record(name)
        return None if found is None else found.lease.id == lease_id


class Watch:
    """Looks at hosts, and remembers between looks. Safe between threads."""

    def __init__(self, client: Client, fleet: Fleet, journal: Journal, *, settings: SshSettings, clock: Clock) -> None:
        self._client, self._fleet, self._journal = client, fleet, journal
        self._settings, self._clock = settings, clock
        self._lock = threading.Lock()
        self._silent: dict[str, Silence] = {}
        self._deaf = False  # nobody at all answered the last look: then it may be us

    def look(self, names: Iterable[str], *, hardware: bool = False, again: bool = False) -> View:
        """Look at the locks of the hosts `names`, all at once, and with `hardware` at what was not looked at lately.

        A host that did not answer just now is not asked; with `again` it is, and all hardware is looked at anew.
        """
        wanted, now = list(dict.fromkeys(names)), self._clock.now()
        known = {name: found for name in wanted if (found := self._recall(name)) is not None}
        young = timedelta(seconds=self._settings.probe_age_s)
        probe = {
            name
            for name in wanted
            if again or (hardware and (name not in known or not timedelta(0) <= now - known[name][1] < young))
        }
        resting = {} if again else self._resting(now)
        asked = [name for name in wanted if name not in resting]
        answers, failed = ask(
            asked,
            lambda name: self._client.look(name, probe=name in probe),
            workers=min(MOST_AT_ONCE, max(1, len(asked))),
        )
        for name in probe & answers.keys():
            known[name] = (self._learn(name, answers[name], now), now)
        with self._lock:
            self._heard(answers, failed, now)
            silent = {name: self._silent[name] for name in wanted if name in self._silent}
            lost_after = timedelta(seconds=self._settings.lost_after_s)
            given_up = {name for name, each in silent.items() if now - each.since >= lost_after}
        return View(
            answers,
            silent,
            {name: found for name, (found, _) in known.items()},
            {name: at for name, (_, at) in known.items()},
            frozenset(given_up) if answers else frozenset(),
        )

    def missed(self, name: str, error: ProviderError) -> None:
        """A host failed outside of a look."""
        now = self._clock.now()
        with self._lock:
            before = self._silent.get(name)
            self._silent[name] = Silence(before.since if before else now, now, error)

    def forget(self, name: str) -> bool:
        """Forget the hardware of a host and its silence; whether there was something."""
        with self._lock:
            self._silent.pop(name, None)
        return self._journal.forget(HARDWARE, name)

    def _resting(self, now: datetime) -> set[str]:
        quiet = timedelta(seconds=self._settings.quiet_s)
        with self._lock:
            return {name for name, each in self._silent.items() if now - each.asked < quiet}

    def _heard(self, answers: Mapping[str, Answer], failed: Mapping[str, ProviderError], now: datetime) -> None:
        """Who was silent while nobody was heard may have been there all the time: its silence begins anew."""
        if answers and self._deaf:
            self._silent = {name: each._replace(since=now) for name, each in self._silent.items()}
        if answers or failed:
            self._deaf = not answers
        for name in answers:
            self._silent.pop(name, None)
        for name, error in failed.items():
            before = self._silent.get(name)
            self._silent[name] = Silence(before.since if before else now, now, error)

    def _learn(self, name: str, answer: Answer, now: datetime) -> Hardware:
        found = hardware(
            answer.sections,
            asked_s=answer.asked_s,
            answered_s=answer.answered_s,
            min_disk_gib=self._settings.min_disk_gib,
        )
        self._journal.remember(HARDWARE, name, {**found._asdict(), "at": now.isoformat()})
        return found

    def _recall(self, name: str) -> tuple[Hardware, datetime] | None:
        fields = self._journal.recall(HARDWARE, name)
        if fields is None:
            return None
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
        try:
            at = datetime.fromisoformat(str(values.pop("at")))
            return Hardware(**values), at  # type: ignore[arg-type]  # as _learn wrote them
        except (KeyError, TypeError, ValueError):  # of another version: looked at again
            return None


def nobody(silent: Mapping[str, Silence]) -> ProviderError:
    """The error where no host answers: AuthError where each refuses us."""
    names = sorted(silent)
    shown = "; ".join(f"{name}: {silent[name].error.detail}" for name in names[:3])
    more = f"; and {len(names) - 3} more" if len(names) > 3 else ""
    if all(isinstance(each.error, AuthError) for each in silent.values()):
        return AuthError(NAME, f"no host of the fleet lets us in: {shown}{more}")
    return TransientError(NAME, f"no host of the fleet answers: {shown}{more}", 10.0)
