"""Ray's REST API on this machine's loopback, by the standard library; a part of the agent, for Python 3.6 and newer."""

import json
import time
import urllib.error
import urllib.request
from typing import Any, Dict, Optional

from orchestrator.runtime.launchers.ssh.ray_part import Trouble

LOOK_S = 1.0  # between questions
CALL_S = 5.0
TRIES = 5
Said = Dict[str, Any]


class Api:
    """Ray's REST API on this machine's loopback."""

    def __init__(self, port: int, token: str) -> None:
        self.port, self._token = port, token
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def up(self) -> bool:
        """Whether it answers."""
        return self._ask("GET", "/api/version") is not None

    def nodes(self) -> int:
        """How many nodes are alive."""
        found = (self._ask("GET", "/api/v0/nodes?limit=10000") or {}).get("data", {}).get("result", {})
        return len([node for node in found.get("result", []) if node.get("state") == "ALIVE"])

    def submit(self, name: str, entrypoint: str) -> None:
        """Submit a program under our own name for it, so that one submission is never two. Raises: Trouble."""
        problem = ""
        for _ in range(TRIES):
            try:
                self._call("POST", "/api/jobs/", {"entrypoint": entrypoint, "submission_id": name})
                return
            except urllib.error.HTTPError as error:
                problem = error.read().decode("utf-8", "replace").strip().split("\n")[-1] or str(error)
            except (OSError, ValueError) as error:
                problem = str(error)
            if self.status(name):  # it was taken, and the answer was lost
                return
            time.sleep(LOOK_S)
        raise Trouble("Ray does not take the program: " + problem)

    def status(self, name: str) -> Said:
        """What Ray knows of a submission; nothing where it does not answer."""
        return self._ask("GET", "/api/jobs/" + name) or {}

    def stop(self, name: str) -> bool:
        """Ask the program to end, by SIGTERM; False where Ray did not take it."""
        return bool((self._ask("POST", "/api/jobs/" + name + "/stop") or {}).get("stopped"))

    def _ask(self, method: str, path: str) -> Optional[Said]:
        try:
            answer = self._call(method, path)
        except (OSError, ValueError):  # HTTP errors are OSErrors
            return None
        return answer if isinstance(answer, dict) else None

    def _call(self, method: str, path: str, body: Optional[Said] = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - our own loopback
            "http://127.0.0.1:%d%s" % (self.port, path),
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": "Bearer " + self._token, "Content-Type": "application/json"},
            method=method,
        )
        with self._open(request, timeout=CALL_S) as answer:
            return json.loads(answer.read().decode())
