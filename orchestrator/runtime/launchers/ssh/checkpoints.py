"""Brings checkpoints home while a job runs and when it has ended, so that the next machine can go on from them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.domain.errors import IsoflopError
from orchestrator.runtime.launchers.ssh import files
from orchestrator.runtime.launchers.ssh.book import Page, Placed
from orchestrator.runtime.launchers.ssh.node import Node
from orchestrator.runtime.launchers.ssh.transfer import LAY_S, Entries, fetch

MOST_BYTES = 64 << 30  # of one run's checkpoints; more is left where it is
PATIENCE_S = 2.0  # that one look at a job waits for its last checkpoints

_log = logging.getLogger(__name__)


def bring_home(placed: Placed, page: Page, nodes: Sequence[Node], *, last: bool) -> bool:
    """Bring what is new; True where everything that was there is here now.

    Files of several nodes are joined; of two with one path the lower node's counts. While the job runs, a file counts
    once two looks find it the same, and what the job removed is removed here when nothing is in the middle of a change.

    Raises: as Node.call; OSError of this machine.
    """
    with page.alone("pull"):
        known, home = page.pulled(), Path(placed.checkpoint_dir)
        incoming = home.parent / f".incoming-{home.name}"
        found: dict[str, tuple[int, dict[str, Any]]] = {}
        for number, node in enumerate(nodes):
            for entry in _look(placed, number, node):
                found.setdefault(files.inside(entry["path"]), (number, entry))
        size = sum(entry.get("size", 0) for _, entry in found.values())
        if size > MOST_BYTES:
            _log.warning("%s: %d bytes of checkpoints are too many to bring home", placed.run_id, size)
            return True
        settled = True
        for number, node in enumerate(nodes):
            fresh = [e for owner, e in found.values() if owner == number and not _same(known.get(e["path"]), e)]
            if fresh and not last:
                again = {entry["path"]: entry for entry in _look(placed, number, node)}
                still = [entry for entry in fresh if _same(again.get(entry["path"]), entry)]
                settled, fresh = settled and len(still) == len(fresh), still
            came = fetch(node, placed.checkpoint_folder(number), fresh, home, incoming) if fresh else []
            settled = settled and len(came) == len(fresh)
            known.update((entry["path"], entry) for entry in came)
        gone = [path for path in known if path not in found] if settled else []
        files.remove(str(home), gone)
        for path in gone:
            del known[path]
        page.keep_pulled(list(known.values()))
        return settled


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

    def begin_if_due(self, placed: Placed, page: Page, nodes: Sequence[Node]) -> None:
        """Begin to bring home what a running job has saved, if the last time is long enough ago."""
        with self._lock:
            now = time.monotonic()
            if now >= self._begun.setdefault(placed.token, now) + placed.pull_every_s:
                self._begin(placed, page, nodes, last=False)

    def finished(self, placed: Placed, page: Page, nodes: Sequence[Node]) -> bool:
        """Whether everything of a job that has ended is here; waits a moment for it."""
        with self._lock:
            thread = self._begin(placed, page, nodes, last=True)
        thread.join(PATIENCE_S)
        with self._lock:
            return self._home.get(placed.token, False)

    def _begin(self, placed: Placed, page: Page, nodes: Sequence[Node], *, last: bool) -> threading.Thread:
        running = self._threads.get(placed.token)
        if running is not None and running.is_alive():
            return running
        self._begun[placed.token] = time.monotonic()
        arguments = (placed, page, nodes, last)
        thread = threading.Thread(target=self._bring, args=arguments, name=f"home-{placed.token}", daemon=True)
        self._threads[placed.token] = thread
        thread.start()
        return thread

    def _bring(self, placed: Placed, page: Page, nodes: Sequence[Node], last: bool) -> None:
        home = False
        try:
            home = bring_home(placed, page, nodes, last=last)
        except (IsoflopError, OSError, ValueError) as error:  # tried again at the next look
            _log.warning("checkpoints of %s: %s", placed.run_id, error)
        with self._lock:
            self._home[placed.token] = home and last
