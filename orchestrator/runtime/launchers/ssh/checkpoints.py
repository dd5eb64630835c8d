"""Brings checkpoints home while a job runs and when it has ended, so that the next machine can go on from them."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from orchestrator.domain.errors import IsoflopError
from orchestrator.runtime.launchers.ssh import files
from orchestrator.runtime.launchers.ssh.book import Page, Placed
from orchestrator.runtime.launchers.ssh.node import Node
from orchestrator.runtime.launchers.ssh.transfer import LAY_S, Entries, fetch

MOST_BYTES = 64 << 30  # of one run's checkpoints; more is left where it is
MOST_RESTLESS = 4
PATIENCE_S = 2.0  # that one look at a job waits for its last checkpoints

_log = logging.getLogger(__name__)


class Taken(StrEnum):
    """What becomes of checkpoints in the middle of a change."""

    WHEN_STILL = "when still"  # nothing is taken unless two looks find everything the same
    WHAT_IS_STILL = "what is still"  # files that two looks find the same
    AS_IT_IS = "as it is"  # the job has ended


def bring_home(placed: Placed, page: Page, nodes: Sequence[Node], how: Taken) -> bool:
    """Bring what is new; True where everything that was there is here now.

    Files of several nodes are joined; of two with one path the lower node's counts. What the job removed is removed
    here when all else is here.

    Raises: as Node.call; OSError of this machine.
    """
    with page.alone("pull"):
        known, home = page.pulled(), Path(placed.checkpoint_dir)
        incoming = home.parent / f".incoming-{home.name}"
        found = _looks(placed, nodes)
        size = sum(entry.get("size", 0) for _, entry in found.values())
        if size > MOST_BYTES:
            _log.warning("%s: %d bytes of checkpoints are too many to bring home", placed.run_id, size)
            return True
        fresh = {path for path, (_, entry) in found.items() if not _same(known.get(path), entry)}
        gone = known.keys() - found.keys()
        still = fresh
        if how is not Taken.AS_IT_IS and (fresh or gone):
            again = _looks(placed, nodes)
            still = {path for path in fresh if path in again and _same(again[path][1], found[path][1])}
            moved = again.keys() != found.keys() or any(not _same(again[p][1], found[p][1]) for p in found)
            if moved and how is Taken.WHEN_STILL:
                return False
            gone = set() if moved else gone
        settled = still == fresh
        for number, node in enumerate(nodes):
            wanted = [entry for path, (owner, entry) in found.items() if owner == number and path in still]
            came = fetch(node, placed.checkpoint_folder(number), wanted, home, incoming) if wanted else []
            settled = settled and len(came) == len(wanted)
            known.update((entry["path"], entry) for entry in came)
        if settled:
            files.remove(str(home), gone)
            known = {path: entry for path, entry in known.items() if path not in gone}
        page.keep_pulled(list(known.values()))
        return settled


def _looks(placed: Placed, nodes: Sequence[Node]) -> dict[str, tuple[int, dict[str, Any]]]:
    """Every file on the nodes with the number of the first that has it."""
    found: dict[str, tuple[int, dict[str, Any]]] = {}
    for number, node in enumerate(nodes):
        for entry in _look(placed, number, node):
            found.setdefault(files.inside(entry["path"]), (number, entry))
    return found


def _look(placed: Placed, number: int, node: Node) -> Entries:
    said = {
        "tree": placed.checkpoint_folder(number),
        "memory": f"{placed.job_folder(number)}/checkpoints.json",
    }
    answer, _ = node.call("tree", said, timeout_s=LAY_S)
    entries: Entries = answer["entries"]
    return entries


def _same(one: dict[str, Any] | None, other: dict[str, Any]) -> bool:
    return one is not None and all(one.get(name) == other.get(name) for name in ("sha", "link", "mode"))


class Homecoming:
    """Runs `bring_home` beside the looks at jobs, once at a time for each job. Safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads: dict[str, threading.Thread] = {}
        self._begun: dict[str, float] = {}
        self._home: dict[str, bool] = {}
        self._restless: defaultdict[str, int] = defaultdict(int)  # rounds in a row that found a change under way

    def begin_if_due(self, placed: Placed, page: Page, nodes: Sequence[Node]) -> None:
        """Begin to bring home what a running job has saved, if the last time is long enough ago."""
        with self._lock:
            now = time.monotonic()
            sooner = 1.0 if not self._restless[placed.token] else 0.25
            if now >= self._begun.setdefault(placed.token, now) + placed.pull_every_s * sooner:
                still = self._restless[placed.token] < MOST_RESTLESS
                self._begin(placed, page, nodes, Taken.WHEN_STILL if still else Taken.WHAT_IS_STILL)

    def finished(self, placed: Placed, page: Page, nodes: Sequence[Node]) -> bool:
        """Whether everything of a job that has ended is here; waits a moment for it."""
        with self._lock:
            thread = self._begin(placed, page, nodes, Taken.AS_IT_IS)
        thread.join(PATIENCE_S)
        with self._lock:
            return self._home.get(placed.token, False)

    def _begin(self, placed: Placed, page: Page, nodes: Sequence[Node], how: Taken) -> threading.Thread:
        running = self._threads.get(placed.token)
        if running is not None and running.is_alive():
            return running
        self._begun[placed.token] = time.monotonic()
        arguments = (placed, page, nodes, how)
        thread = threading.Thread(target=self._bring, args=arguments, name=f"home-{placed.token}", daemon=True)
        self._threads[placed.token] = thread
        thread.start()
        return thread

    def _bring(self, placed: Placed, page: Page, nodes: Sequence[Node], how: Taken) -> None:
        home = False
        try:
            home = bring_home(placed, page, nodes, how)
        except (IsoflopError, OSError, ValueError) as error:  # tried again at the next look
            _log.warning("checkpoints of %s: %s", placed.run_id, error)
        with self._lock:
            self._home[placed.token] = home and how is Taken.AS_IT_IS
            self._restless[placed.token] = 0 if home else self._restless[placed.token] + 1
