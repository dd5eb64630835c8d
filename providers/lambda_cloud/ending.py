"""How a machine at Lambda ends its own bill, where its user entrusts it with a key: shutting down does not."""

from __future__ import annotations

import json
from collections.abc import Mapping

from orchestrator.domain.secret import Secret

SCRIPT, TRUST = "/usr/local/lib/isoflop/give-back", "/usr/local/lib/isoflop/give-back.json"

# Python, as every Ubuntu image has it: a shell would show the key in its list of processes. Tried again every minute by
# the timer for as long as the machine runs.
PROGRAM = """\
#!/usr/bin/python3
# Terminates this machine through Lambda's API.
import json
import urllib.request

with open({trust!r}) as file:
    trust = json.load(file)


def call(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {{"authorization": "Bearer " + trust["key"], "content-type": "application/json"}}
    request = urllib.request.Request(trust["url"] + "/api/v1" + path, data, headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)["data"]


ids = [each["id"] for each in call("/instances") if each.get("name") == trust["name"]]
if ids:
    call("/instance-operations/terminate", {{"instance_ids": ids}})
"""


def files(key: Secret, endpoint_url: str, name: str) -> Mapping[str, str]:
    """Texts by path: a program that terminates the instance called `name`, and the key it does so with."""
    trust = {"key": key.reveal(), "url": endpoint_url.rstrip("/"), "name": name}
    return {TRUST: json.dumps(trust), SCRIPT: PROGRAM.format(trust=TRUST)}
