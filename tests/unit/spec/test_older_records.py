"""Records that the first release wrote are read: fields that came later have their defaults."""

from __future__ import annotations

import json

import pytest

from orchestrator.domain.errors import Scope, UserError
from orchestrator.domain.events import PurchaseRefused, Submitted
from orchestrator.domain.workload import Workload
from orchestrator.lifecycle.blocking import DEFAULT_PATIENCE, block_of
from orchestrator.spec import documents
from orchestrator.testing import builders

MODEL = (
    '{"name":"test-7b","parameters":6740000000.0,"active_parameters":6740000000.0,"layers":32,"hidden":4096,"heads":32,'
    '"kv_heads":32,"head_dim":128,"vocabulary":32000,"source":"test"}'
)
SHARED = (
    f'"model":{MODEL},"limits":{{"budget_usd":null,"deadline_s":null,"finish_by":null,"latency":{{"first_token_s":null,'
    '"per_token_s":null,"total_s":null},"regions":[],"residency":[],"providers":[],"accelerators":[],"billing":[]},'
    '"data":{"location":"","size_gib":0.0},"program":null,"settings":[]'
)
# As `dump_workload` of the first release printed them.
RECORDS: list[tuple[str, Workload]] = [
    (
        f'{{"kind":"Training","name":"train",{SHARED},"tokens":2000000000.0,"precision":"bf16","sequence_length":4096,'
        '"micro_batch":1,"mfu":null}',
        builders.training(),
    ),
    (
        f'{{"kind":"FineTune","name":"tune",{SHARED},"tokens":10000000.0,"method":"lora","lora_rank":16,'
        '"precision":"bf16","sequence_length":4096,"micro_batch":1,"mfu":null}',
        builders.fine_tune(),
    ),
    (
        f'{{"kind":"Inference","name":"serve",{SHARED},"users":[{{"place":"Frankfurt","requests_per_s":2.0}}],'
        '"prompt_tokens":1024,"output_tokens":256,"precision":"bf16","kv_precision":"bf16","duration_s":2592000.0}',
        builders.inference(),
    ),
    (
        f'{{"kind":"BatchInference","name":"batch",{SHARED},"requests":100000.0,"prompt_tokens":1024,'
        '"output_tokens":256,"precision":"bf16","kv_precision":"bf16"}',
        builders.batch_inference(),
    ),
]
IDS = [type(workload).__name__ for _, workload in RECORDS]


@pytest.mark.parametrize(("text", "workload"), RECORDS, ids=IDS)
def test_a_workload_of_the_first_release_is_read(text: str, workload: Workload) -> None:
    assert documents.load_workload(text) == workload


@pytest.mark.parametrize(("text", "workload"), RECORDS, ids=IDS)
def test_a_run_of_the_first_release_is_read(text: str, workload: Workload) -> None:
    event = (
        f'{{"kind":"submitted","run_id":"r","at":"2026-01-02T03:04:05+00:00","workload":{text},"plan":null,"key":""}}'
    )
    found = documents.load_event(event)
    assert isinstance(found, Submitted)
    assert found.workload == workload


def test_shapes_that_the_first_release_let_pass_are_read() -> None:
    text, _ = RECORDS[0]
    rounded = text.replace('heads":32', 'heads":30').replace('"head_dim":128', '"head_dim":136')  # 4096 // 30
    assert documents.load_workload(rounded).model.heads == 30
    uneven = text.replace('"kv_heads":32', '"kv_heads":5')
    assert documents.load_workload(uneven).model.kv_heads == 5
    longer = text.replace('"sequence_length":4096', '"sequence_length":1000000')
    assert documents.load_workload(longer)


def test_a_refusal_of_the_first_release_has_no_scope_and_reaches_as_its_error_does() -> None:
    event = (
        '{"kind":"purchase-refused","run_id":"r","at":"2026-01-02T03:04:05+00:00","token":"r-1",'
        '"error":"QuotaError","detail":"acme: no quota"}'
    )
    found = documents.load_event(event)
    assert isinstance(found, PurchaseRefused)
    assert found.scope is None
    block = block_of(found, builders.offer(), 2, DEFAULT_PATIENCE)
    assert block is not None
    assert block.scope is Scope.PROVIDER


def test_a_record_that_contradicts_itself_is_refused_with_its_place() -> None:
    record = json.loads(RECORDS[0][0])
    record["model"]["layers"] = 0
    with pytest.raises(UserError, match=r"model.*layers: is 0"):
        documents.load_workload(json.dumps(record))
