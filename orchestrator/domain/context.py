"""Context: how long a workload's sequences are, against what its model was made for."""

from __future__ import annotations

from orchestrator.domain.consistency import Contradiction
from orchestrator.domain.workload import FineTune, Training, Workload


def longest_sequence(job: Workload) -> int:
    """Tokens of the job's sequences: of training, or of a prompt with its whole answer."""
    if isinstance(job, Training | FineTune):
        return job.sequence_length
    return job.prompt_tokens + job.output_tokens


def beyond_context(job: Workload) -> Contradiction | None:
    """What is wrong where the sequences are longer than what the model was made for, if that is known.

    Not refused where a job is made: code may extend a model's context on purpose. A job file says so with
    `context_length` under `model`, and is refused otherwise.
    """
    longest, length = job.model.context_length, longest_sequence(job)
    if longest is None or length <= longest:
        return None
    made = f"{job.model.name} is made for {longest:,}"
    hint = "shorten it; if you extend the model's context, give model: {name: ..., context_length: ...}"
    if isinstance(job, Training | FineTune):
        return Contradiction("sequence_length", f"{length:,} tokens are too many: {made}", hint)
    message = f"{job.prompt_tokens:,} tokens of prompt and {job.output_tokens:,} of answer are too many: {made}"
    return Contradiction("prompt_tokens", message, hint)
