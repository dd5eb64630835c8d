"""Which machines AWS has announced to take back: spot interruptions, retirements, and a queue of warnings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from orchestrator.kit.documents import Document, Malformed, readable
from providers.aws.client import Client
from providers.aws.records import RECLAIM_AT, Machine
from providers.aws.refusals import NAME
from providers.aws.settings import AwsSettings
from providers.aws.translate import moment

NOTICE = timedelta(seconds=120)  # from a spot interruption's warning to the interruption (EC2 user guide)
MARKED = frozenset({"marked-for-termination", "marked-for-stop", "instance-terminated-by-price"}) | frozenset(
    {"instance-terminated-no-capacity", "instance-terminated-capacity-oversubscribed", "spot-instance-interruption"}
)
RETIRES = frozenset({"instance-retirement", "instance-stop"})
INTERRUPTED, REBALANCE = "EC2 Spot Instance Interruption Warning", "EC2 Instance Rebalance Recommendation"
BATCHES = 20  # of ten messages, of one look at the queue
MOST_IDS = 100  # in one question about machines


class Warnings:
    """Asks two questions per region in which machines are held, and one about the queue."""

    def __init__(self, client: Client, settings: AwsSettings) -> None:
        self._client, self._settings = client, settings

    def of(self, region: str, machines: Sequence[Machine]) -> dict[str, datetime]:
        """When each of the live `machines` is taken back, by id. Raises: AuthError, TransientError."""
        alive = [each for each in machines if not each.dead]
        found = {each.id: at for each in alive if (at := _tagged(each)) is not None}
        with readable(NAME, region):
            found |= self._marked(region, {each.spot_request: each.id for each in alive if each.spot_request})
            found |= self._retired(region, [each.id for each in alive if not each.spot_request])
        return found

    def _marked(self, region: str, requests: Mapping[str, str]) -> dict[str, datetime]:
        found = {}
        for ids in _chunks(sorted(requests)):
            filters = [{"Name": "spot-instance-request-id", "Values": ids}]
            for row in self._client.each(
                "ec2", region, "DescribeSpotInstanceRequests", "SpotInstanceRequests", Filters=filters
            ):
                status = row.within("Status")
                machine = requests.get(row.text("SpotInstanceRequestId"))
                if machine and status.text("Code") in MARKED:
                    found[machine] = moment(status, "UpdateTime") + NOTICE
        return found

    def _retired(self, region: str, ids: Sequence[str]) -> dict[str, datetime]:
        if not ids:
            return {}
        found, ours = {}, frozenset(ids)
        # Not by id: one that EC2 does not know yet would fail the whole question.
        for row in self._client.each(
            "ec2",
            region,
            "DescribeInstanceStatus",
            "InstanceStatuses",
            Filters=[{"Name": "event.code", "Values": sorted(RETIRES)}],
            IncludeAllInstances=True,
        ):
            machine = row.text("InstanceId")
            for event in row.each("Events"):
                over = event.text("Description", "").startswith(("[Completed]", "[Canceled]"))
                if machine in ours and event.text("Code") in RETIRES and not over:
                    found[machine] = moment(event, "NotBefore")
        return found

    # The queue

    def drain(self, ours: Mapping[str, Machine], now: datetime) -> None:
        """Write what the queue says of our machines on the machines, as a tag, and take it off the queue.

        So no process can keep a warning from the others. Messages about machines that are not ours stay: somebody else
        may share the queue. Raises: AuthError, TransientError.
        """
        url = self._settings.reclaim_queue_url
        if not url:
            return
        region = _region_of(url) or self._settings.home
        for _ in range(BATCHES):
            answer = self._client.read(
                "sqs", region, "ReceiveMessage", QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=30
            )
            with readable(NAME, answer.place):
                messages = list(answer.each("Messages"))
                heard = [(message, said) for message in messages if (said := self._said(message, ours, now))]
            for message, (machine, at) in heard:
                if at is not None:
                    self._tag(ours[machine], at)
                self._client.once(
                    "sqs", region, "DeleteMessage", QueueUrl=url, ReceiptHandle=message.text("ReceiptHandle")
                )
            if not messages:
                return

    def _said(
        self, message: Document, ours: Mapping[str, Machine], now: datetime
    ) -> tuple[str, datetime | None] | None:
        """The machine of ours that a message is about and when it goes, if it goes; None of others' messages."""
        try:
            event = Document(json.loads(message.text("Body")), "event")
            kind, machine = event.text("detail-type"), event.within("detail").text("instance-id")
            sent = datetime.fromisoformat(event.text("time"))
        except (Malformed, ValueError):
            return None
        if machine not in ours:
            return None
        heeded = kind == INTERRUPTED or (kind == REBALANCE and self._settings.heed_rebalance)
        return machine, (max(sent + NOTICE, now) if heeded else None)

    def _tag(self, machine: Machine, at: datetime) -> None:
        tags = [{"Key": RECLAIM_AT, "Value": at.isoformat(timespec="seconds")}]
        self._client.once("ec2", machine.region, "CreateTags", Resources=[machine.id], Tags=tags)


def _tagged(machine: Machine) -> datetime | None:
    try:
        at = datetime.fromisoformat(machine.tags.get(RECLAIM_AT, ""))
    except ValueError:
        return None
    return at if at.tzinfo else None


def _region_of(url: str) -> str:
    """`https://sqs.eu-west-1.amazonaws.com/123/name` is in eu-west-1."""
    words = (urlsplit(url).hostname or "").split(".")
    return words[1] if len(words) > 2 and words[0] == "sqs" else ""


def _chunks(ids: Sequence[str]) -> Iterable[list[str]]:
    return [list(ids[start : start + MOST_IDS]) for start in range(0, len(ids), MOST_IDS)]
