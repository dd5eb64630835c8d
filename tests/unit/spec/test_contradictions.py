"""Jobs whose fields are well-formed one by one and cannot go together."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.errors import SpecError
from orchestrator.domain.parallelism import Parallelism, Recompute, Sharding
from orchestrator.domain.workload import BatchInference, FineTune, Inference, Method, Stack, Training, Workload
from orchestrator.spec.job import parse

TRAIN = "kind: Training\nname: a\ntokens: 300B\nmodel: "  # the model is in line 4, from column 8 on
TUNE = "kind: FineTune\nname: a\ntokens: 1B\nmodel: llama-2-7b\n"
SERVE = "kind: Inference\nname: a\nusers: [{place: Paris, rate: 1/s}]\nmodel: "
LABEL = "kind: BatchInference\nname: a\nrequests: 1M\nmodel: "
LLAMA = "llama-2-7b\n"
MIXTURE = "{parameters: 46.7B, experts: 8, experts_per_token: 2"


def read(text: str) -> Workload:
    return parse(text, file="job.yaml", base=Path())


def problems(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        read(text)
    return str(caught.value).split("\n")


MODELS = [
    ("{parameters: 7B, layers: 0}", "4:33: model.layers: 0 is out of range"),
    ("{parameters: 7B, hidden: 0}", "4:33: model.hidden: 0 is out of range"),
    ("{parameters: 7B, heads: 0}", "4:32: model.heads: 0 is out of range"),
    ("{parameters: 7B, vocabulary: 0}", "4:37: model.vocabulary: 0 is out of range"),
    ("{parameters: 7B, context_length: 0}", "4:41: model.context_length: 0 is out of range"),
    ("{parameters: 7B, feed_forward: -1}", "4:39: model.feed_forward: '-1' is negative"),
    ("{parameters: 0}", "4:21: model.parameters: is 0"),
    ("{parameters: nan}", "4:21: model.parameters: 'nan' is not a finite number"),
    ("{parameters: .inf}", "4:21: model.parameters: '.inf' is not a finite number"),
    ("{parameters: 7B, gated: maybe}", "4:32: model.gated: 'maybe' is neither true nor false"),
    ("{parameters: 7B, hidden: 4096, heads: 30}", "4:46: model.heads: 30 heads do not divide the width of 4096"),
    ("{parameters: 7B, heads: 32, kv_heads: 5}", "4:46: model.kv_heads: 5 key-value heads do not divide 32 heads"),
    ("{parameters: 7B, heads: 4, kv_heads: 8}", "4:45: model.kv_heads: is 8: more kv_heads than heads"),
    (
        "{parameters: 7B, active_parameters: 8B}",
        "4:44: model.active_parameters: is 8B: more active parameters than parameters (7B)",
    ),
    (f"{MIXTURE}}}", "4:8: model.active_parameters: are all 46.7B, but a token passes 2 of 8 experts"),
    (
        f"{MIXTURE}, active_parameters: 1B}}",
        "4:81: model.active_parameters: is 1B, less than 2 of 8 experts: 11.68B",
    ),
    ("{parameters: 9B, experts: 8}", "4:34: model.experts: is given without experts_per_token"),
    ("{parameters: 9B, experts_per_token: 2}", "4:44: model.experts_per_token: is given without experts"),
    (
        "{parameters: 9B, experts: 8, experts_per_token: 9}",
        "4:56: model.experts_per_token: a token passes 9 of 8 experts",
    ),
    (
        "{parameters: 7M, layers: 32, hidden: 4096, heads: 32}",
        "4:21: model.parameters: is 0.007B, and layers, hidden and the rest of the shape make at least 2.1B",
    ),
]
TRAININGS = [
    (f"{LLAMA}sequence_length: 8192", "5:18: sequence_length: 8,192 tokens are too many: llama-2-7b is made for 4,096"),
    (
        "{parameters: 7B, context_length: 2048}\nsequence_length: 4096",
        "5:18: sequence_length: 4,096 tokens are too many",
    ),
    (f"{LLAMA}global_batch: 1000", "5:15: global_batch: 1,000 tokens are less than one pass of one device"),
    (f"{LLAMA}global_batch: {{sequences: 1}}\nmicro_batch: 2", "5:15: global_batch: 4,096 tokens are less than one"),
    (f"{LLAMA}global_batch: 0", "5:15: global_batch: is 0: there is nothing to do"),
    (f"{LLAMA}global_batch: {{sequences: 0}}", "5:15: global_batch: 0 is out of range"),
    (f"{LLAMA}global_batch: {{tokens: 4}}", "5:15: global_batch: is a mapping of other fields than sequences"),
    (f"{LLAMA}global_batch: [4M]", "5:15: global_batch: is a list"),
    (f"{LLAMA}global_batch:", "5:14: global_batch: has no value (such as global_batch: 4M)"),
    (
        f"{LLAMA}global_batch: 4M\nparallelism: {{tensor: 8, data: 64}}",
        "5:15: global_batch: 976.562 sequences are no multiple of data x micro_batch = 64"
        " (the nearest that are: {sequences: 960} or {sequences: 1024})",
    ),
    (
        f"{LLAMA}global_batch: {{sequences: 3}}\nparallelism: {{data: 4}}",
        "(the nearest that are: {sequences: 4})",
    ),
    (f"{LLAMA}parallelism:", "5:13: parallelism: has no value"),
    (f"{LLAMA}parallelism: {{tensor: 0}}", "5:23: parallelism.tensor: 0 is out of range"),
    (f"{LLAMA}parallelism: {{tensor: 3}}", "5:23: parallelism.tensor: 3 devices do not share 32 heads evenly"),
    (f"{LLAMA}parallelism: {{pipeline: 64}}", "5:25: parallelism.pipeline: 64 stages are more than the model's 32"),
    (
        f"{LLAMA}parallelism: {{pipeline: 8, interleave: 8}}",
        "5:25: parallelism.pipeline: 8 stages x 8 chunks are more than the model's 32 layers",
    ),
    (f"{LLAMA}parallelism: {{interleave: 2}}", "5:27: parallelism.interleave: is given, but there is one pipeline"),
    (f"{LLAMA}parallelism: {{context: 3}}", "5:24: parallelism.context: 3 devices do not share 4,096 tokens evenly"),
    (f"{LLAMA}parallelism: {{expert: 2, data: 2}}", "5:23: parallelism.expert: is 2, but the model has no experts"),
    (
        "mixtral-8x7b\nparallelism: {expert: 3, data: 3}",
        "5:23: parallelism.expert: 3 devices do not share 8 experts evenly",
    ),
    (
        "mixtral-8x7b\nparallelism: {expert: 8, data: 4}",
        "5:23: parallelism.expert: 8 does not divide the 4 data-parallel ranks",
    ),
    (f"{LLAMA}parallelism: {{data: 10000000}}", "5:21: parallelism.data: makes 10,000,000 devices"),
    (f"{LLAMA}parallelism: {{sharding: zero-4}}", "5:25: parallelism.sharding: 'zero-4' is not a way to shard"),
    (f"{LLAMA}parallelism: {{tensr: 4}}", "5:15: parallelism.tensr: is not a field here (did you mean tensor?)"),
    (f"{LLAMA}recompute: some", "5:12: recompute: 'some' is not a way to recompute"),
    (
        f"{LLAMA}micro_batch: 2\nparallelism: {{micro_batch: 4}}",
        "6:28: parallelism.micro_batch: is 4, and the job's micro_batch is 2 (give it once)",
    ),
]
ANSWERS = [
    (f"{LLAMA}prompt_tokens: 5000", "5:16: prompt_tokens: 5,000 tokens of prompt and 1 of answer are too many"),
    (f"{LLAMA}prompt_tokens: 4000\noutput_tokens: 100", "5:16: prompt_tokens: 4,000 tokens of prompt and 100"),
    (f"{LLAMA}output_tokens: 4096", "5:16: output_tokens: 1 tokens of prompt and 4,096 of answer are too many"),
    (f"{LLAMA}quantise: bf16", "5:11: quantise: bf16 is not narrower than the job's precision, bf16"),
    (f"{LLAMA}quantise: [fp9]", "5:12: quantise[0]: 'fp9' is not a precision"),
    (f"{LLAMA}precision: fp8\nquantise: [int8, int4]", "6:11: quantise: int8 is not narrower"),
    (f"{LLAMA}stack: llama.cpp\nprecision: fp8", "6:12: precision: llama.cpp holds no fp8 weights"),
    (f"{LLAMA}stack: llama.cpp\nkv_precision: fp8", "6:15: kv_precision: llama.cpp holds no fp8 key-value cache"),
    (f"{LLAMA}stack: llama.cpp\nquantise: fp8", "6:11: quantise: llama.cpp holds no fp8 weights"),
    (f"{LLAMA}stack: vlm", "5:8: stack: 'vlm' is not a serving stack (did you mean vllm?"),
]
SERVICES = [
    (f"{LLAMA}peak_over_mean: {peak}", f"5:17: peak_over_mean: {said}")
    for peak, said in (
        ("0.5", "0.5 is out of range"),
        ("0", "0 is out of range"),
        ("1001", "1001 is out of range"),
        ("nan", "'nan' is not a finite number"),
        (".inf", "'.inf' is not a finite number"),
        ("-2", "'-2' is negative"),
    )
]
TUNES = [
    (f"{field}: {value}", f"5:{len(field) + 3}: {field}: is given, but method is lora (leave it out, or choose full")
    for field, value in (("global_batch", "4M"), ("recompute", "full"), ("parallelism", "{data: 2}"))
]


@pytest.mark.parametrize(
    ("text", "said"),
    [(TRAIN + end, said) for end, said in MODELS + TRAININGS]
    + [(start + end, said) for end, said in ANSWERS for start in (SERVE, LABEL)]
    + [(SERVE + end, said) for end, said in SERVICES]
    + [(TUNE + end, said) for end, said in TUNES],
)
def test_what_cannot_be_is_refused_in_one_line_at_the_field(text: str, said: str) -> None:
    (line,) = problems(text)
    assert said in line
    assert re.match(r"job\.yaml:\d+:\d+: [\w.\[\]]+: ", line)


def test_every_contradiction_of_a_job_is_reported_at_once() -> None:
    lines = problems(f"{TRAIN}{LLAMA}global_batch: 1k\nparallelism: {{tensor: 3, pipeline: 64}}")
    assert [line.split(": ")[1] for line in lines] == ["global_batch", "parallelism.tensor", "parallelism.pipeline"]


def test_the_layout_of_a_training_job_reads_whole() -> None:
    text = (
        f"{TRAIN}mixtral-8x7b\nglobal_batch: {{sequences: 1024}}\nrecompute: full\nparallelism: "
        "{tensor: 2, pipeline: 4, data: 16, context: 2, expert: 8, micro_batch: 2, interleave: 4, sharding: zero-2}"
    )
    layout = Parallelism(
        tensor=2,
        pipeline=4,
        data=16,
        context=2,
        expert=8,
        micro_batch=2,
        micro_batches=32,
        interleave=4,
        sharding=Sharding.ZERO_2,
        recompute=Recompute.FULL,
    )
    for start, kind in ((text, Training), (text.replace("kind: Training", "kind: FineTune\nmethod: full"), FineTune)):
        job = read(start)
        assert isinstance(job, kind)
        assert job.parallelism == layout
        assert (job.micro_batch, job.recompute) == (2, Recompute.FULL)
        assert job.global_batch_tokens == 1024 * 4096
    assert isinstance(job, FineTune)
    assert job.method is Method.FULL


def test_what_is_left_out_of_a_layout_is_not_made_up() -> None:
    job = read(TRAIN + LLAMA)
    assert isinstance(job, Training)
    assert (job.global_batch_tokens, job.parallelism, job.recompute) == (None, None, None)
    job = read(f"{TRAIN}{LLAMA}micro_batch: 4\nglobal_batch: 4M\nparallelism: {{tensor: 8}}".replace("4M", "4194304"))
    assert isinstance(job, Training)
    assert job.parallelism == Parallelism(tensor=8, micro_batch=4, micro_batches=256)
    assert job.recompute is None


@pytest.mark.parametrize("start", [SERVE, LABEL])
def test_the_stack_and_what_may_be_quantised_are_read(start: str) -> None:
    job = read(f"{start}{LLAMA}stack: TensorRT-LLM\nquantise: [fp8, int4, fp8]")
    assert isinstance(job, Inference | BatchInference)
    assert (job.stack, job.quantise) == (Stack.TENSORRT_LLM, (Precision.FP8, Precision.INT4))
    plain = read(start + LLAMA)
    assert isinstance(plain, Inference | BatchInference)
    assert (plain.stack, plain.quantise) == (Stack.VLLM, ())
    small = read(f"{start}{LLAMA}stack: llama.cpp\nprecision: int4")
    assert isinstance(small, Inference | BatchInference)
    assert small.stack is Stack.LLAMA_CPP


def test_a_spiky_load_is_read() -> None:
    job = read(f"{SERVE}{LLAMA}peak_over_mean: 3.5")
    assert isinstance(job, Inference)
    assert job.peak_over_mean == 3.5


@pytest.mark.parametrize(
    ("model", "length"),
    [("llama-2-7b", 4096), ("gpt-3", 2048), ("bert-large", 512), ("gpt-4", 4096), ("{parameters: 7B}", 4096)],
)
def test_a_sequence_is_by_default_no_longer_than_the_models_context(model: str, length: int) -> None:
    job = read(TRAIN + model)
    assert isinstance(job, Training)
    assert job.sequence_length == length


@pytest.mark.parametrize(
    ("rest", "prompt", "output"),
    [
        ("llama-2-7b", 1024, 256),
        ("bert-large", 256, 256),
        ("bert-large\nprompt_tokens: 400", 400, 112),
        ("bert-large\noutput_tokens: 500", 12, 500),
        ("{parameters: 7B}\nprompt_tokens: 100000", 100_000, 256),
        ("llama-3.1-8b\nprompt_tokens: 131000", 131_000, 72),
    ],
)
def test_a_prompt_and_its_answer_fit_the_models_context_by_default(rest: str, prompt: int, output: int) -> None:
    for start in (SERVE, LABEL):
        job = read(start + rest)
        assert isinstance(job, Inference | BatchInference)
        assert (job.prompt_tokens, job.output_tokens) == (prompt, output)


def test_a_known_models_context_is_extended_by_saying_so() -> None:
    job = read(f"{TRAIN}{{name: llama-2-7b, context_length: 32768}}\nsequence_length: 32768")
    assert isinstance(job, Training)
    assert (job.model.name, job.model.layers, job.model.context_length) == ("llama-2-7b", 32, 32768)


def test_heads_may_be_wider_than_their_share_of_the_width_where_that_is_said() -> None:
    job = read(f"{TRAIN}{{parameters: 7B, hidden: 4096, heads: 30, head_dim: 128}}")
    assert (job.model.heads, job.model.head_dim) == (30, 128)


def test_the_facts_of_a_mixture_are_read() -> None:
    more = "active_parameters: 12.9B, feed_forward: 14336, gated: yes, context_length: 32768"
    model = read(f"{TRAIN}{MIXTURE}, {more}}}").model
    facts = (model.experts, model.experts_per_token, model.feed_forward, model.gated, model.context_length)
    assert facts == (8, 2, 14336, True, 32768)
