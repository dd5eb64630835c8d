"""CSVs of observed runs: what a row says, and why a row is skipped."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from orchestrator.catalog.accelerators import load
from orchestrator.catalog.devices import resolver
from orchestrator.domain.accelerator import Precision
from orchestrator.domain.errors import ConfigError, SpecError, UserError
from orchestrator.domain.parallelism import Recompute
from orchestrator.sizing.observed import InferenceRun, TrainingRun
from orchestrator.spec.history.layout import Layout
from orchestrator.spec.history.reader import History, read

TRAINING = "id,kind,model,params_b,gpu,n_gpus,precision,recompute,tokens_t,gpu_hours,wall_days,tok_s_gpu"
SERVING = "id,model,gpu,mode,batch_or_conc,isl,osl,n_gpus,tp,weight_prec,kv_prec,ttft_ms,tpot_ms,out_tok_s"


def of(tmp_path: Path, *lines: str) -> History:
    """The file made of these lines."""
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(lines) + "\n")
    [history] = read([path], resolver(load()))
    assert history.rows == len(history.runs) + len(history.skipped)
    return history


def run_of(tmp_path: Path, *lines: str) -> TrainingRun:
    """The one training run of a file."""
    history = of(tmp_path, *lines)
    assert history.skipped == ()
    [run] = history.runs
    assert isinstance(run, TrainingRun)
    return run


def point_of(tmp_path: Path, *lines: str) -> InferenceRun:
    """The one inference run of a file."""
    history = of(tmp_path, *lines)
    assert history.skipped == ()
    [run] = history.runs
    assert isinstance(run, InferenceRun)
    return run


def why(tmp_path: Path, *lines: str) -> tuple[str, str]:
    """Column and reason of the one row that is skipped."""
    [skipped] = of(tmp_path, *lines).skipped
    return skipped.column, skipped.reason


def test_a_run_has_its_work_its_device_and_its_hours(tmp_path: Path) -> None:
    run = run_of(tmp_path, TRAINING, "a,run,,7,H100 SXM 80GB,512,bf16,full,2,200000,,")
    assert run.flops == pytest.approx(6 * 7e9 * 2e12)
    assert (run.accelerator, run.generation, run.gpus, run.gpu_hours) == ("H100-SXM", "hopper", 512, 200000.0)
    assert (run.precision, run.recompute, run.benchmark) == (Precision.BF16, Recompute.FULL, False)


def test_hours_are_days_times_devices_where_they_are_not_given(tmp_path: Path) -> None:
    assert run_of(tmp_path, TRAINING, "a,run,,7,H100-SXM,512,bf16,,2,,20,").gpu_hours == 20 * 24 * 512


def test_devices_follow_from_hours_and_days(tmp_path: Path) -> None:
    assert run_of(tmp_path, TRAINING, "a,run,,7,H100-SXM,,bf16,,2,240000,20,").gpus == 500


def test_hours_of_effective_utilisation_give_that_utilisation_back(tmp_path: Path) -> None:
    run = run_of(tmp_path, "params_b,gpu,n_gpus,tokens_t,mfu_eff_6nd,precision,kind", "7,H100-SXM,64,1,0.4,bf16,run")
    assert run.gpu_hours is not None
    assert run.flops / (run.gpu_hours * 3600 * run.peak16_tflops * 1e12) == pytest.approx(0.4)


def test_a_benchmark_is_known_by_what_it_observed(tmp_path: Path) -> None:
    history = of(tmp_path, "params_b,gpu,tok_s_gpu", "7,H100-SXM,9000")
    [run] = history.runs
    assert isinstance(run, TrainingRun)
    assert run.benchmark
    assert run.flops == pytest.approx(6 * 7e9)
    assert "kind not given: taken as bench, by what was observed" in dict(history.assumed)
    assert dict(history.assumed)["precision not given: taken as bf16"] == 1


@pytest.mark.parametrize(
    ("header", "cells", "mfu"),
    [
        ("tflops_gpu_reported", "395.6", 395.6 / 989.0),
        ("tflops_gpu_reported,flops_basis,recompute", "395.6,hardware,full", 0.75 * 395.6 / 989.0),
        ("tflops_gpu_reported,flops_basis,recompute", "395.6,hardware,selective", 395.6 / 989.0),
        ("hfu_reported,recompute", "0.4,full", 0.3),
        ("mfu_reported,hfu_reported,recompute", "0.35,0.4,full", 0.35),
        ("mfu_model16,mfu_reported", "0.42,0.35", 0.42),
        ("mfu_reported,peak16_tflops", "0.2,1978", 0.4),  # counted against the peak with sparsity
    ],
)
def test_utilisation_is_of_model_flops_against_our_peak(tmp_path: Path, header: str, cells: str, mfu: float) -> None:
    run = run_of(tmp_path, f"kind,params_b,gpu,precision,{header}", f"bench,7,H100-SXM,bf16,{cells}")
    assert run.mfu == pytest.approx(mfu, rel=2e-3)


def test_executed_flops_without_their_recomputation_say_nothing(tmp_path: Path) -> None:
    column, reason = why(tmp_path, "kind,params_b,gpu,precision,hfu_reported", "bench,7,H100-SXM,bf16,0.5")
    assert (column, reason.split(":")[0]) == ("tok_s_gpu", "nothing observed")


def test_a_bare_utilisation_below_16_bits_is_not_used(tmp_path: Path) -> None:
    column, _ = why(tmp_path, "kind,params_b,gpu,precision,mfu_reported", "bench,7,H100-SXM,fp8,0.4")
    assert column == "tok_s_gpu"


def test_the_micro_batch_may_stand_among_the_remarks(tmp_path: Path) -> None:
    assert run_of(tmp_path, "params_b,gpu,tok_s_gpu,note", '7,H100-SXM,9000,"mbs=8 ga=1"').micro_batch == 8


def test_a_known_model_brings_its_shape_and_the_row_its_size(tmp_path: Path) -> None:
    run = run_of(tmp_path, "model,params_b,gpu,tok_s_gpu", "Mixtral 8x7B,46.7,H100-SXM,4000")
    assert run.model.parameters == pytest.approx(46.7e9)
    assert (run.model.layers, run.model.experts) == (32, 8)
    assert run.model.active_parameters < 14e9


def test_a_model_of_a_like_name_and_another_size_brings_no_shape(tmp_path: Path) -> None:
    assert run_of(tmp_path, "model,params_b,gpu,tok_s_gpu", "Mixtral 8x7B,12,H100-SXM,4000").model.layers is None


def test_a_shape_that_contradicts_the_row_is_not_taken(tmp_path: Path) -> None:
    run = run_of(tmp_path, "model,params_b,active_b,gpu,tok_s_gpu", "Mixtral 8x7B,46.7,3,H100-SXM,4000")
    assert run.model.active_parameters == pytest.approx(3e9)
    assert run.model.experts is None


def test_replicas_are_judged_as_one(tmp_path: Path) -> None:
    run = point_of(tmp_path, SERVING, "a,Llama 3.1 8B,L40S,conc,64,512,128,8,2,fp8,fp8,,,4000")
    assert (run.devices, run.concurrency, run.output_tokens_per_s) == (2, 16.0, 1000.0)


def test_cores_are_not_devices(tmp_path: Path) -> None:
    run = point_of(tmp_path, SERVING, "a,Llama 3.1 8B,Inferentia2,single,1,512,128,12,24,fp16,fp16,,20,")
    assert run.devices == 12


def test_milliseconds_become_seconds(tmp_path: Path) -> None:
    run = point_of(tmp_path, SERVING, "a,Llama 3.1 8B,L40S,single,1,512,128,1,1,int4_q4km,fp16,95,18.5,")
    assert (run.ttft_s, run.tpot_s) == (pytest.approx(0.095), pytest.approx(0.0185))
    assert (run.weights, run.weight_bytes) == (Precision.INT4, 0.612)


def test_a_table_of_shapes_completes_the_models_of_the_others(tmp_path: Path) -> None:
    runs, shapes = tmp_path / "runs.csv", tmp_path / "shapes.csv"
    runs.write_text("model,gpu,tok_s_gpu\nours,H100-SXM,9000\n")
    shapes.write_text("model,params_b,layers,d_model,heads,gated\nOurs,7,32,4096,32,1\n")
    history, table = read([runs, shapes], resolver(load()))
    assert history.runs[0].model.heads == 32
    assert (table.layout, len(table.models)) == (Layout.MODELS, 1)


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [
        ("a,run,,7,H100-SXM,512,bf16,full,2,about 3 weeks,,", "gpu_hours", "is not a number"),
        ("a,run,,7,H100-SXM,512,bf16,full,2,-5,,", "gpu_hours", "is not above 0"),
        ("a,run,,7,H100-SXM,512,bf16,full,2,inf,,", "gpu_hours", "is not a number"),
        ("a,run,,7,H100-SXM,512,bf16,full,2,2_000,,", "gpu_hours", "is not a number"),
        ("a,run,,7,H100-SXM,512,bf16,full,2,nan,,", "gpu_hours", "nothing observed"),
        ("a,run,,7,H100-SXM,512,bf16,full,,200000,,", "tokens_t", "without tokens"),
        ("a,run,,7,H100-SXM,51.5,bf16,full,2,200000,,", "n_gpus", "not a whole number"),
        ("a,run,,7e9,H100-SXM,512,bf16,full,2,200000,,", "params_b", "1e9 parameters"),
        ("a,run,unheard of,,H100-SXM,512,bf16,full,2,200000,,", "params_b", "is no model we know"),
        ("a,run,,7,XPU-9,512,bf16,full,2,200000,,", "gpu", "no device that we hold facts about"),
        ("a,run,,7,A100,512,bf16,full,2,200000,,", "gpu", "say which"),
        ("a,run,,7,,512,bf16,full,2,200000,,", "gpu", "empty"),
        ("a,run,,7,H100-SXM,512,fp6,full,2,200000,,", "precision", "is none of"),
        ("a,run,,7,H100-SXM,512,bf16,some,2,200000,,", "recompute", "is none of"),
        ("a,run,,7,H100-SXM,512,bf16,full,2,200,,", "gpu_hours", "check the units"),
        ("a,bench,,7,H100-SXM,512,bf16,full,,,,5000000", "tok_s_gpu", "check the units"),
        ("a,run,,7,H100-SXM,512,bf16,full,2,200000", "", "10 fields where the header has 12"),
        ('a,run,"x,7,H100-SXM,512,bf16,full,2,200000,,', "", "not a CSV line"),
    ],
)
def test_a_row_that_cannot_be_judged_says_why(tmp_path: Path, row: str, column: str, words: str) -> None:
    found, reason = why(tmp_path, TRAINING, row)
    assert found == column
    assert words in reason


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [
        ("a,Llama 3.1 8B,L40S,single,1,,128,1,1,fp8,fp8,95,,", "isl", "tokens of the prompt"),
        ("a,Llama 3.1 8B,L40S,single,1,512,128,1,1,fp8,fp8,,,", "tpot_ms", "nothing observed"),
        ("a,Llama 3.1 8B,L40S,conc,,512,128,1,1,fp8,fp8,95,,", "batch_or_conc", "requests at once"),
        ("a,Llama 3.1 8B,L40S,often,1,512,128,1,1,fp8,fp8,95,,", "mode", "is none of"),
    ],
)
def test_a_point_that_cannot_be_judged_says_why(tmp_path: Path, row: str, column: str, words: str) -> None:
    found, reason = why(tmp_path, SERVING, row)
    assert found == column
    assert words in reason


def test_a_run_counts_once(tmp_path: Path) -> None:
    history = of(tmp_path, "id,params_b,gpu,tok_s_gpu", "a,7,H100-SXM,9000", "A,7,H100-SXM,9100", "a,x,H100-SXM,9000")
    assert len(history.runs) == 1
    assert [(each.line, each.column) for each in history.skipped] == [(3, "id"), (4, "id")]


def test_a_row_that_was_skipped_does_not_take_the_id(tmp_path: Path) -> None:
    history = of(tmp_path, "id,params_b,gpu,tok_s_gpu", "a,x,H100-SXM,9000", "a,7,H100-SXM,9100")
    assert history.lines == (3,)


def test_a_mixture_needs_its_active_parameters_unless_its_work_is_in_flops(tmp_path: Path) -> None:
    header = "kind,arch,params_b,gpu,precision,tokens_t,flops_reported,gpu_hours"
    assert why(tmp_path, header, "run,moe,600,TPU v3,bf16,1,,900000")[0] == "active_b"
    assert run_of(tmp_path, header, "run,moe,600,TPU v3,bf16,,1.33e22,76000").flops == 1.33e22


@pytest.mark.parametrize("text", ["\ufeff{}\r\n{}\r\n", "{}\r{}", "\n".join(("{}", "", "  ", "{}", "", ""))])
def test_spreadsheets_line_ends_and_blank_lines_change_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "runs.csv"
    path.write_bytes(text.format("params_b,gpu,tok_s_gpu", "7,H100-SXM,9000").encode())
    [history] = read([path], resolver(load()))
    assert (history.rows, len(history.runs)) == (1, 1)


def test_a_cell_may_hold_line_breaks(tmp_path: Path) -> None:
    history = of(tmp_path, "params_b,gpu,tok_s_gpu,note", '7,H100-SXM,9000,"two', 'lines"', "7,H100-SXM,9100,")
    assert history.lines == (2, 4)


def test_an_open_quote_spoils_its_own_line_alone(tmp_path: Path) -> None:
    history = of(tmp_path, "params_b,gpu,tok_s_gpu,note", '7,H100-SXM,9000,"open', "7,H100-SXM,9100,", "7,L4,100,")
    assert history.lines == (3, 4)
    assert history.skipped[0].line == 2


def test_other_encodings_spoil_their_cells(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_bytes("id,params_b,gpu,tok_s_gpu\nMünchen,7,H100-SXM,9000\nok,7,H100-SXM,9000\n".encode("latin-1"))
    [history] = read([path], resolver(load()))
    assert (len(history.runs), history.skipped[0].column) == (1, "id")


def test_a_file_that_ends_in_the_middle_loses_its_last_line_and_says_so(tmp_path: Path) -> None:
    lines = "".join(f"r{row},7,H100-SXM,{9000 + row % 77}\n" for row in range(5000))
    path = tmp_path / "runs.csv.gz"
    path.write_bytes(gzip.compress(f"id,params_b,gpu,tok_s_gpu\n{lines}".encode())[:-2000])
    [history] = read([path], resolver(load()))
    assert history.rows == len(history.runs) + 1
    assert "cut off" in history.skipped[-1].reason


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("\n\nparams_b,gpu,tok_s_gpu\n", "the first line is empty"),
        ("7,H100-SXM,9000\n", "is no header"),
        ("params_b;gpu;tok_s_gpu\n7;H100-SXM;9000\n", "not separated by commas"),
        ("params_b\tgpu\ttok_s_gpu\n", "not separated by commas"),
        ("params_b,gpu,gpu_hour\n7,H100-SXM,9000\n", "is 'gpu_hours' meant?"),
        ("params_b,gpu,tok_s_gpu,ttft_ms\n", "of training and of inference"),
        ("params_b,gqu,tok_s_gpu\n", "is 'gqu' meant?"),
        ("params_b,gpu,gpu,tok_s_gpu\n", "more than once"),
        ('params_b,"gpu\n', "the header is not CSV"),
    ],
)
def test_a_file_without_our_header_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        read([path], resolver(load()))
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_column_nearly_of_ours_is_pointed_out(tmp_path: Path) -> None:
    history = of(tmp_path, "params_b,gpu,tok_s_gpu,seqlen,colour", "7,H100-SXM,9000,2048,red")
    assert history.ignored_columns == ("seqlen (is seq_len meant?)", "colour")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(ConfigError, match="cannot be read"):
            read([path], resolver(load()))


def test_a_file_counts_once_and_shapes_alone_are_no_history(tmp_path: Path) -> None:
    shapes = tmp_path / "shapes.csv"
    shapes.write_text("model,params_b,layers,d_model\nours,7,32,4096\n")
    with pytest.raises(UserError, match="given twice"):
        read([shapes, shapes], resolver(load()))
    with pytest.raises(UserError, match="no file holds observed runs"):
        read([shapes], resolver(load()))


def test_every_published_row_is_read(shared_data: Path) -> None:
    folder = shared_data / "sizing"
    names = ("training_runs.csv", "inference_runs.csv", "model_arch.csv")
    histories = read([folder / name for name in names], resolver(load()))
    assert [history.skipped for history in histories] == [(), (), ()]
    assert [history.ignored_columns for history in histories] == [(), (), ()]
    assert all(history.rows for history in histories)
