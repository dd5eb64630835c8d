from __future__ import annotations

import json
import os
import traceback
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.domain.accelerator import Precision
from orchestrator.domain.errors import SpecError
from orchestrator.domain.offer import Billing
from orchestrator.domain.workload import (
    BatchInference,
    Checkpointing,
    DataSet,
    FineTune,
    Framework,
    Inference,
    LatencyTarget,
    Limits,
    Method,
    Population,
    Program,
    Setting,
    Training,
    Workload,
)
from orchestrator.spec.job import load, parse

TRAINING = "kind: Training\nname: a\nmodel: gpt-3\ntokens: 300B\n"


def read(text: str, base: Path = Path()) -> Workload:
    return parse(text, file="job.yaml", base=base)


def problems(text: str, base: Path = Path()) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse(text, file="job.yaml", base=base)
    assert caught.value.exit_code == 2
    return str(caught.value).split("\n")


def problem(text: str, base: Path = Path()) -> str:
    (only,) = problems(text, base)
    return only


def limits(text: str) -> Limits:
    return read(f"{TRAINING}limits: {text}").limits


def program(text: str, base: Path = Path()) -> Program:
    found = read(f"{TRAINING}run: {text}", base).program
    assert found is not None
    return found


def test_a_training_job_reads_whole(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    text = """
kind: Training
name: seven
model: {parameters: 7B, layers: 32, hidden: 4096, heads: 32, kv_heads: 8, vocabulary: 32000}
tokens: 2T tokens
precision: FP8
sequence_length: 8192
micro_batch: 2
mfu: 45%
data: {location: aws/us-east-1, size: 2TiB}
limits:
  budget: $200k
  deadline: 30d
  regions: ["eu-*", us-east-1]
  residency: eu
  providers: aws
  accelerators: [H100-SXM]
  billing: [on-demand, spot]
run:
  command: python train.py --note "two words" --lr 1e-4
  workdir: code
  image: me/train:1
  env: {DEBUG: on, N: 007, EMPTY: ""}
  secrets: {HF_TOKEN: env:HF_TOKEN}
  checkpoint: {interval: 5min, grace: 0s}
  max_attempts: 3
  framework: ray
  port: 8000
policies: {latency: {usd_per_ms: 0.5}, other: {fast: true, mode: best, worth: $2k}}
"""
    workload = read(text, tmp_path)
    assert isinstance(workload, Training)
    assert workload.model.parameters == workload.model.active_parameters == 7e9
    assert (workload.model.name, workload.model.source, workload.model.head_dim) == ("custom", "job file", 128)
    assert (workload.tokens, workload.precision, workload.mfu) == (2e12, Precision.FP8, 0.45)
    assert (workload.sequence_length, workload.micro_batch) == (8192, 2)
    assert workload.data == DataSet(location="aws/us-east-1", size_gib=2048.0)
    assert workload.limits == Limits(
        budget_usd=200_000.0,
        deadline_s=30 * 86400.0,
        regions=("eu-*", "us-east-1"),
        residency=("EU",),
        providers=("aws",),
        accelerators=("H100-SXM",),
        billing=(Billing.ON_DEMAND, Billing.SPOT),
    )
    assert workload.program == Program(
        command=("python", "train.py", "--note", "two words", "--lr", "1e-4"),
        image="me/train:1",
        workdir=str(tmp_path.resolve() / "code"),
        env=(("DEBUG", "on"), ("N", "007"), ("EMPTY", "")),
        secrets=(("HF_TOKEN", "env:HF_TOKEN"),),
        checkpoint=Checkpointing(interval_s=300.0, grace_s=0.0),
        max_attempts=3,
        framework=Framework.RAY,
        port=8000,
    )
    assert workload.settings == (
        Setting("latency", "usd_per_ms", 0.5),
        Setting("other", "fast", True),
        Setting("other", "mode", "best"),
        Setting("other", "worth", 2000.0),
    )


def test_the_other_kinds_read_whole() -> None:
    tune = read("kind: FineTune\nname: a\nmodel: mistral-7b\ntokens: 1M\nmethod: qlora\nlora_rank: 8")
    assert isinstance(tune, FineTune)
    assert (tune.method, tune.lora_rank, tune.model.name) == (Method.QLORA, 8, "mistral-7b")
    serve = read(
        "kind: Inference\nname: a\nmodel: llama-3.1-8b\n"
        "users: [{place: Frankfurt, rate: 20/s}, {place: '48,11', rate: 5/min}]\n"
        "prompt_tokens: 100\noutput_tokens: 50\nprecision: fp8\nkv_precision: fp8\nduration: 1w\n"
        "limits: {latency: {first_token: 500ms, per_token: 50ms, total: 10s}}"
    )
    assert isinstance(serve, Inference)
    assert serve.users == (Population("Frankfurt", 20.0), Population("48,11", 5 / 60))
    assert serve.limits.latency == LatencyTarget(first_token_s=0.5, per_token_s=0.05, total_s=10.0)
    assert (serve.prompt_tokens, serve.output_tokens, serve.duration_s) == (100, 50, 604800.0)
    assert serve.precision is serve.kv_precision is Precision.FP8
    batch = read("kind: BatchInference\nname: a\nmodel: gpt-3\nrequests: 1M")
    assert isinstance(batch, BatchInference)
    assert (batch.requests, batch.program, batch.limits) == (1e6, None, Limits())


def test_json_is_read_by_content() -> None:
    assert read(json.dumps({"kind": "Training", "name": "a", "model": "gpt-3", "tokens": 300e9}, indent="\t")) == read(
        TRAINING
    )


def test_relative_paths_start_at_the_job_files_folder(tmp_path: Path) -> None:
    config = {
        "model_type": "gpt2",
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "n_positions": 1024,
        "vocab_size": 50257,
    }
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "config.json").write_text(json.dumps(config))
    path = tmp_path / "job.yaml"
    path.write_text(
        "kind: Training\nname: a\nmodel: {config: small/config.json}\ntokens: 1B\nrun: {command: x, workdir: .}\n"
    )
    workload = load(path)
    assert workload.model.name == "small"
    assert workload.model.parameters == pytest.approx(124e6, rel=0.01)
    assert workload.program is not None
    assert workload.program.workdir == str(tmp_path.resolve())


def test_empty_sections_are_defaults() -> None:
    assert read(f"{TRAINING}limits:\ndata:\npolicies:\n") == read(TRAINING)
    assert program("{command: x, env: , secrets: , checkpoint: }") == Program(command=("x",))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2030-12-31", datetime(2030, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("2030-12-31T18:00", datetime(2030, 12, 31, 18, tzinfo=UTC)),
        ("2030-12-31T18:00+01:00", datetime(2030, 12, 31, 17, tzinfo=UTC)),
        ("2030-12-31 18:00:00Z", datetime(2030, 12, 31, 18, tzinfo=UTC)),
    ],
)
def test_a_deadline_may_be_a_date(text: str, moment: datetime) -> None:
    found = limits(f"{{deadline: '{text}'}}")
    assert (found.finish_by, found.deadline_s) == (moment, None)


@pytest.mark.parametrize(
    "text", ["2030-13-01", "2030-12-31T99:00", "30", "soon", "0d", "-3d", "nan", "9999w", "0001-01-01T00:00+12:00"]
)
def test_a_deadline_that_is_none_is_refused(text: str) -> None:
    assert "job.yaml:5:20: limits.deadline: " in problem(f"{TRAINING}limits: {{deadline: '{text}'}}")


def test_every_problem_of_a_file_is_reported_at_once_and_in_its_order() -> None:
    text = """kind: Trainin
name: x y
model: lama-3.1-8b
tokens: 30d
token: 3
budget: 5
limits:
  budget: 0
  deadlin: 30d
  billing: [sport]
  latency: fast
run:
  env: {"A B": 1}
mfu: nan
precision: bf17
micro_batch: -1
name: again
"""
    starts = [line.split(" (")[0] for line in problems(text)]
    assert starts == [
        "job.yaml:1:7: kind: 'Trainin' is not a kind of job",
        "job.yaml:2:7: name: 'x y' is not a name",
        "job.yaml:3:8: model: 'lama-3.1-8b' is not a known model",
        "job.yaml:4:9: tokens: 'd' is not a unit for a count",
        "job.yaml:5:1: token: is not a field here",
        "job.yaml:6:1: budget: is not a field here",
        "job.yaml:8:11: limits.budget: is $0, which buys nothing; leave it out for no limit",
        "job.yaml:9:3: limits.deadlin: is not a field here",
        "job.yaml:10:13: limits.billing[0]: 'sport' is not a kind of billing",
        "job.yaml:11:12: limits.latency: is not a mapping",
        "job.yaml:13:3: run.command: is missing",
        "job.yaml:13:9: run.env.'A B': 'A B' is not a variable's name",
        "job.yaml:14:6: mfu: 'nan' is not a finite number",
        "job.yaml:15:12: precision: 'bf17' is not a precision to train in",
        "job.yaml:16:14: micro_batch: '-1' is negative",
        "job.yaml:17:1: the key 'name' is given twice",
    ]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("kind: Trainin", "did you mean Training?"),
        ("kind: finetune", "did you mean FineTune?"),
        ("kind: 3", "expected one of Training, FineTune, Inference, BatchInference"),
        (f"{TRAINING}precison: bf16", "did you mean precision?"),
        (f"{TRAINING}budget: 5", "budget belongs under limits"),
        (f"{TRAINING}lora_rank: 5", "lora_rank is a field of FineTune"),
        (f"{TRAINING}precision: bf17", "did you mean bf16?"),
        (f"{TRAINING}limits: {{billing: sport}}", "did you mean spot?"),
        (f"{TRAINING}run: {{command: x, framework: rya}}", "did you mean ray?"),
        (f"{TRAINING}limits: {{deadline: 30 dayz}}", "dayz"),
        (TRAINING.replace("gpt-3", "lama-3.1-8b"), "did you mean llama-3.1-8b"),
    ],
)
def test_the_nearest_spelling_is_offered(text: str, hint: str) -> None:
    assert hint in "\n".join(problems(text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "job.yaml: is empty"),
        ("just words", "job.yaml:1:1: holds no fields"),
        ("- a", "job.yaml:1:1: holds no fields"),
        (f"{TRAINING}limits: {{budget: $0}}", "job.yaml:5:18: limits.budget: is $0, which buys nothing"),
        (f"{TRAINING}limits: {{budget: -$5}}", "is negative"),
        (f"{TRAINING}limits: {{budget: .nan}}", "is not a finite number"),
        (f"{TRAINING}limits: {{budget: .inf}}", "is not a finite number"),
        (f"{TRAINING}limits: {{budget: 30d}}", "'d' is not a unit for an amount of money"),
        (f"{TRAINING}limits: {{budget: }}", "limits.budget: has no value (such as budget: $200k)"),
        (f"{TRAINING}mfu:", "mfu: has no value"),
        (f"{TRAINING}run:", "run: has no value"),
        (TRAINING.replace("gpt-3", ""), "model: has no value (such as model: llama-3.1-8b)"),
        (f"{TRAINING}limits: {{residency: Germany}}", "'GERMANY' is not a jurisdiction"),
        (f"{TRAINING}limits: {{regions: {{a: b}}}}", "limits.regions: is not a list"),
        (f"{TRAINING}mfu: 120%", "too large for a ratio"),
        (f"{TRAINING}mfu: 0", "mfu: is 0"),
        (f"{TRAINING}micro_batch: 0", "0 is out of range"),
        (f"{TRAINING}sequence_length: 4k", "'4k' is not a whole number"),
        (f"{TRAINING}precision: int8", "'int8' is not a precision to train in"),
        (f"{TRAINING}data: {{size: 80}}", "has no unit"),
        (f"{TRAINING}data: {{location: [a]}}", "data.location: is a list"),
        (f"{TRAINING}policies: {{latency: {{usd_per_ms: -1}}}}", "policies.latency.usd_per_ms: '-1' is negative"),
        (f"{TRAINING}policies: {{latency: {{usd_per_ms: .nan}}}}", "is not a finite number"),
        (f"{TRAINING}policies: {{latency: 5}}", "policies.latency: is not a mapping"),
        (f"{TRAINING}run: {{command: 'a \"b'}}", "run.command: cannot be split into words: No closing quotation"),
        (f"{TRAINING}run: {{command: []}}", "run.command: is empty"),
        (f"{TRAINING}run: {{command: x, env: {{A: }}}}", "run.env.A: has no value"),
        (f"{TRAINING}run: {{command: x, env: {{ISOFLOP_X: 1}}}}", "ISOFLOP_X is reserved"),
        (f"{TRAINING}run: {{command: x, max_attempts: 0}}", "0 is out of range"),
        (f"{TRAINING}run: {{command: x, port: 65536}}", "65536 is out of range"),
        (f"{TRAINING}run: {{command: x, port: 0}}", "0 is out of range"),
        (f'{TRAINING}run: {{command: x, image: "a\\e[31m"}}', "holds control characters"),
        (f"{TRAINING}run: {{command: x, env: {{A: 1}}, secrets: {{A: env:A}}}}", "A stands under env too"),
        (TRAINING.replace("300B", "0"), "tokens: is 0: there is nothing to do"),
        (TRAINING.replace("gpt-3", "[a]"), "model: is neither a name nor a mapping"),
        (TRAINING.replace("gpt-3", "{}"), "model: is empty"),
        (TRAINING.replace("gpt-3", "{layers: 3}"), "model: has numbers but no parameters"),
        (
            TRAINING.replace("gpt-3", "{parameters: 7B, active_parameters: 8B}"),
            "more active parameters than parameters",
        ),
        (TRAINING.replace("gpt-3", "{parameters: 7B, heads: 4, kv_heads: 8}"), "more kv_heads than heads"),
        (TRAINING.replace("gpt-3", "{parameters: 7B, config: x}"), "model: has a config and numbers"),
        (
            TRAINING.replace("gpt-3", "{parameters: 7B, layer: 3}"),
            "model.layer: is not a field here (did you mean layers?)",
        ),
        (TRAINING.replace("gpt-3", "{config: none.json}"), "model: config cannot be used: none.json: cannot be read"),
        (
            "kind: FineTune\nname: a\nmodel: gpt-3\ntokens: 1B\nmethod: full\nlora_rank: 8",
            "is given, but method is full",
        ),
        ("kind: Inference\nname: a\nmodel: gpt-3\nusers: []", "users: is empty"),
        ("kind: Inference\nname: a\nmodel: gpt-3\nusers: 20/s", "users: is not a list"),
        (
            "kind: Inference\nname: a\nmodel: gpt-3\nusers: [{place: X, rate: 20}]",
            "users[0].rate: '20' does not say per what time",
        ),
    ],
)
def test_bad_input_is_refused_in_one_clear_line(text: str, said: str) -> None:
    assert said in problem(text)


def test_a_missing_kind_is_said_with_the_problems_of_the_shared_fields() -> None:
    assert [line.split(" (")[0] for line in problems("name: a b\nmodel: gpt-3\ntokens: 1B\n")] == [
        "job.yaml:1:1: kind: is missing",
        "job.yaml:1:7: name: 'a b' is not a name",
    ]


@pytest.mark.parametrize(
    "literal",
    ["hunter2", "hf_abcdef", "'env:'", "env:A B", "file:relative", "k8s:a/b", "[hunter2]", "{a: hunter2}", "2"],
)
def test_a_literal_secret_is_refused_and_never_repeated(literal: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(f"{TRAINING}run:\n  command: x\n  secrets:\n    TOKEN: {literal}\n")
    said = "".join(traceback.format_exception(caught.value))
    assert "job.yaml:8:12: run.secrets.TOKEN: is not a reference to a secret" in said
    assert "expected env:NAME, file:/path, k8s:namespace/name/key or ambient" in said
    assert "hunter2" not in said
    assert "hf_abcdef" not in said


@pytest.mark.parametrize("reference", ["env:HF_TOKEN", "file:/run/secrets/token", "k8s:ml/hub/token", "ambient"])
def test_references_to_secrets_are_kept_as_they_are(reference: str) -> None:
    assert program(f"{{command: x, secrets: {{T: '{reference}'}}}}").secrets == (("T", reference),)


def test_a_workdir_that_is_a_loop_of_links_is_refused_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    said = problem(f"{TRAINING}run:\n  command: x\n  workdir: a\n", tmp_path)
    assert said == "job.yaml:7:12: run.workdir: 'a' is a loop of symbolic links (expected a folder)"


def test_a_workdir_that_is_missing_or_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "'none' cannot be used: No such file or directory" in problem(
        f"{TRAINING}run: {{command: x, workdir: none}}", tmp_path
    )
    assert "'file' is not a folder" in problem(f"{TRAINING}run: {{command: x, workdir: file}}", tmp_path)


def test_a_workdir_may_be_a_link_to_a_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert program("{command: x, workdir: link}", tmp_path).workdir == os.fspath((tmp_path / "real").resolve())


def test_a_command_is_a_list_or_a_line() -> None:
    assert program("{command: [python, -c, 'print(1)', 5]}").command == ("python", "-c", "print(1)", "5")
    assert program("{command: \"sh -c 'a && b'\"}").command == ("sh", "-c", "a && b")


def test_a_problem_within_an_alias_is_placed_where_the_alias_stands() -> None:
    text = "kind: Inference\nname: a\nmodel: gpt-3\nusers:\n- &u {place: X, rate: 20}\n- *u\n"
    assert [line.split(" '")[0] for line in problems(text)] == [
        "job.yaml:5:23: users[0].rate:",
        "job.yaml:6:3: users[1].rate:",
    ]


def test_a_flood_of_problems_is_cut_and_counted() -> None:
    lines = problems(TRAINING + "".join(f"field{i}: 1\n" for i in range(500)))
    assert len(lines) == 101
    assert lines[-1] == "job.yaml: and 400 more problems"


def test_a_long_or_hostile_text_is_quoted_short_and_escaped() -> None:
    said = problem(f'{TRAINING}precision: "\\e[31m{"x" * 5000}"')
    assert "\x1b" not in said
    assert len(said) < 300
