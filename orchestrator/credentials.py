"""Credential references, resolved where they are used and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.domain.errors import MissingCredentials, UserError
from orchestrator.domain.secret import Secret

SERVICE_ACCOUNT = Path("/var/run/secrets/isoflop")  # where the chart mounts the Kubernetes secrets it may read
FORMS = "env:NAME, file:/path, k8s:namespace/name/key or ambient"


def resolve(reference: str) -> Secret:
    """The secret behind `env:NAME`, `file:/path` or `k8s:namespace/name/key`; `ambient` is an empty secret.

    `ambient` leaves the choice to an SDK's own chain. A `k8s:` reference is read from the folder the secret is mounted
    under, so that a pod needs no right to read secrets through the Kubernetes API.

    Raises: MissingCredentials where nothing is there, UserError where the reference has no known form. Neither repeats
    the reference when it may itself be a secret.
    """
    if reference == "ambient":
        return Secret("")
    scheme, _, rest = reference.partition(":")
    if scheme == "env" and rest:
        value = os.environ.get(rest)
        if not value:
            raise MissingCredentials(f"the environment variable {rest} is not set")
        return Secret(value)
    if scheme == "file" and rest:
        return _from_file(Path(rest))
    if scheme == "k8s" and rest.count("/") == 2:
        return _from_file(SERVICE_ACCOUNT / rest)
    raise UserError(f"a credential is given by reference: {FORMS}")


def _from_file(path: Path) -> Secret:
    try:
        value = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise MissingCredentials(f"the credential file {path} cannot be read") from error
    if not value:
        raise MissingCredentials(f"the credential file {path} is empty")
    return Secret(value)
