"""An SQS queue at the simulated AWS that EventBridge's warnings of spot interruptions arrive in."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from typing import Any

from orchestrator.simulation.clouds.aws.catalogue import Catalogue
from orchestrator.simulation.clouds.aws.machines import Instances
from orchestrator.simulation.clouds.aws.network import ACCOUNT, made_id
from orchestrator.simulation.clouds.aws.protocol import AwsError, Call
from orchestrator.simulation.clouds.aws.states import NOTICE_S, id_of
from orchestrator.simulation.clouds.market import Market

QUEUE = "isoflop-reclaims"
WARNING = "EC2 Spot Instance Interruption Warning"


class Queue:
    """One queue for all regions; a message that was received shows again after its visibility timeout."""

    def __init__(self, market: Market, catalogue: Catalogue, instances: Instances) -> None:
        self._market, self._catalogue, self._instances = market, catalogue, instances
        self._hidden_until: dict[str, datetime] = {}
        self._deleted: set[str] = set()
        self._extra: list[dict[str, Any]] = []

    def post(self, event: dict[str, Any]) -> None:
        """Put an event of one's own into the queue."""
        self._extra.append(event)

    def receive(self, call: Call) -> dict[str, Any]:
        """ReceiveMessage."""
        self._known(call)
        now = self._market.clock.now()
        hidden = timedelta(seconds=call.params.get("VisibilityTimeout", 30))
        messages: list[dict[str, Any]] = []
        with self._market.lock:
            for event in self._events():
                receipt = made_id("receipt", event["id"])
                if receipt in self._deleted or self._hidden_until.get(receipt, now) > now:
                    continue
                if len(messages) >= call.params.get("MaxNumberOfMessages", 1):
                    break
                self._hidden_until[receipt] = now + hidden
                body = json.dumps(event)
                digest = hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
                message = {"MessageId": event["id"], "ReceiptHandle": receipt, "MD5OfBody": digest, "Body": body}
                messages.append(message)
        return {"Messages": messages} if messages else {}

    def delete(self, call: Call) -> dict[str, Any]:
        """DeleteMessage."""
        self._known(call)
        with self._market.lock:
            self._deleted.add(call.params["ReceiptHandle"])
        return {}

    def _known(self, call: Call) -> None:
        if not call.params["QueueUrl"].endswith(f"/{ACCOUNT}/{QUEUE}"):
            text = "The specified queue does not exist."
            raise AwsError("com.amazonaws.sqs#QueueDoesNotExist", text)

    def _events(self) -> list[dict[str, Any]]:
        events = []
        for region in self._catalogue.regions:
            for machine in self._instances.warned(region):
                sent = (machine.ends_at or self._market.clock.now()) - timedelta(seconds=NOTICE_S)
                events.append(
                    {
                        "version": "0",
                        "id": made_id("event", machine.serial),
                        "detail-type": WARNING,
                        "source": "aws.ec2",
                        "account": ACCOUNT,
                        "time": sent.strftime("%Y-%m-%dT%H:%M:%SZ"),
                        "region": region,
                        "resources": [f"arn:aws:ec2:{machine.extra['zone']}:instance/{id_of(machine)}"],
                        "detail": {"instance-id": id_of(machine), "instance-action": "terminate"},
                    }
                )
        return [*events, *self._extra]
