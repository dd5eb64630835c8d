"""Lambda's own OpenAPI description as judge of requests and answers, where a copy of it is at hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openapi_core import OpenAPI
from openapi_core.datatypes import RequestParameters
from openapi_core.exceptions import OpenAPIError
from openapi_core.templating.paths.exceptions import PathError
from openapi_core.templating.responses.exceptions import ResponseNotFound
from openapi_core.validation.request.exceptions import RequestValidationError, SecurityValidationError
from werkzeug.datastructures import Headers, ImmutableMultiDict

from orchestrator.simulation.clouds.wire import Nonconforming, Reply, Request

FILE = Path("lambda") / "openapi-1.8.3.json"
# The description leaves these out although its own text speaks of a limit of requests and of upstream faults, and it
# has no answer to an unreadable body of some operations that take one.
UNDOCUMENTED = frozenset({400, 429, 500, 502, 503})


class BadRequest(ValueError):
    """A request that the description does not allow; the message says why."""


class _Call:
    """A request as openapi-core wants to see it."""

    host_url = "http://localhost"

    def __init__(self, request: Request) -> None:
        self.method = request.method.lower()
        self.path = request.path
        self.content_type = request.headers.get("content-type", "").split(";")[0].strip()
        self.body = request.body or None
        self.parameters = RequestParameters(
            query=ImmutableMultiDict(request.query), header=Headers(dict(request.headers)), cookie=ImmutableMultiDict()
        )


class _Answer:
    """An answer as openapi-core wants to see it."""

    def __init__(self, reply: Reply) -> None:
        self.status_code, self.content_type, self.data = reply.status, reply.kind, reply.body
        self.headers = Headers(list(reply.headers))


class Spec:
    """The description read from a folder of specifications."""

    def __init__(self, folder: Path) -> None:
        """Raises: OSError, ValueError where the file cannot be read."""
        self.document: Mapping[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
        # Its servers are Lambda's own hosts: no request to another would be found in it.
        self._api = OpenAPI.from_dict({**self.document, "servers": [{"url": "/"}]})

    def check_request(self, request: Request) -> None:
        """Raises: BadRequest. Credentials are not looked at."""
        try:
            self._api.validate_request(_Call(request))
        except SecurityValidationError:
            return
        except (RequestValidationError, PathError) as error:
            raise BadRequest(_why(error)) from error

    def check_reply(self, request: Request, reply: Reply) -> None:
        """Raises: Nonconforming."""
        try:
            self._api.validate_response(_Call(request), _Answer(reply))
        except ResponseNotFound as error:
            if reply.status not in UNDOCUMENTED:
                raise Nonconforming(str(error)) from error
        except PathError:
            return  # an answer to a call that the API does not have
        except OpenAPIError as error:
            raise Nonconforming(_why(error)) from error


def _why(error: Exception) -> str:
    cause = error.__cause__
    details = getattr(cause, "schema_errors", ()) or getattr(error, "schema_errors", ())
    return "; ".join(str(getattr(detail, "message", detail)) for detail in details) or str(cause or error)
