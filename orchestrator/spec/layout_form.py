"""The job file's layout: the batch of one optimizer step, and how the devices share the work."""

# No postponed annotations here: pydantic would have to evaluate each of hundreds of strings at every start.

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema

from orchestrator.domain.parallelism import Recompute, Sharding
from orchestrator.spec import quantity
from orchestrator.spec.fields import DIGITS, Whole, flaw, measured, member, whole
from orchestrator.spec.section import Form

RecomputeWord = Annotated[Recompute, *member(Recompute, "a way to recompute")]
ShardingWord = Annotated[Sharding, *member(Sharding, "a way to shard")]


@dataclass(frozen=True, slots=True)
class Batch:
    """Of one optimizer step: tokens, or sequences; exactly one of the two."""

    tokens: float | None = None
    sequences: int | None = None


def _batch(value: object) -> Batch:
    if not isinstance(value, dict):
        return Batch(tokens=_tokens(value))
    if set(value) != {"sequences"}:
        raise flaw("is a mapping of other fields than sequences", "expected tokens such as 4M, or {sequences: 1024}")
    return Batch(sequences=whole(value["sequences"]))


_tokens = measured(quantity.count, "tokens such as 4M, or {sequences: 1024}", zero="is 0: there is nothing to do")
GlobalBatch = Annotated[
    Batch,
    PlainValidator(_batch),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 1},
                {"type": "string", "pattern": rf"^\s*{DIGITS}\s*[A-Za-z ]*$"},
                {
                    "type": "object",
                    "properties": {"sequences": {"type": "integer", "minimum": 1, "maximum": 10**9}},
                    "required": ["sequences"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]


class ParallelismForm(Form):
    """How the devices share the work: the job has tensor x pipeline x context x data of them."""

    tensor: Whole = Field(1, description="Devices that share every layer; they divide the heads.", examples=[8])
    pipeline: Whole = Field(1, description="Stages that the layers are cut into.", examples=[4])
    data: Whole = Field(1, description="Copies of the model, each on its share of the batch.", examples=[16])
    context: Whole = Field(1, description="Devices that share every sequence.", examples=[2])
    expert: Whole = Field(
        1, description="Of the data-parallel devices, those that share the experts out.", examples=[8]
    )
    micro_batch: Whole | None = Field(
        None, description="Sequences of one pass. Default: the job's micro_batch.", examples=[1]
    )
    interleave: Whole = Field(1, description="Model chunks of every pipeline stage.", examples=[4])
    sharding: ShardingWord = Field(
        Sharding.ZERO_1, description="What the data-parallel devices share out instead of copying.", examples=["zero-1"]
    )
