"""The example's server answers over HTTP from a checkpoint that the example's trainer wrote."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e import char_service


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = char_service.workdir(tmp_path_factory.mktemp("example") / "work")
    command = [sys.executable, "-u", "serve.py", "--heads", "2", "--port", "0"]
    served = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE)
    try:
        assert served.stdout is not None
        said = served.stdout.readline().decode()
        assert said.startswith("serving the checkpoint of step 20 on port ")
        yield f"http://127.0.0.1:{int(said.split()[-1])}"
        served.send_signal(signal.SIGTERM)
        assert served.wait(10) == 143
    finally:
        served.kill()
        served.wait(10)
        if served.stdout is not None:
            served.stdout.close()


def test_it_streams_as_many_characters_as_it_is_asked_for_and_the_same_ones_again(url: str) -> None:
    before = httpx.get(url).json()
    first, second = ask(url, tokens=40), ask(url, tokens=40)
    assert len(first.text) == 40
    assert first.text == second.text
    assert first.pieces > 1
    assert first.host == socket.gethostname()
    after = httpx.get(url).json()
    assert (after["host"], after["step"]) == (socket.gethostname(), 20)
    assert after["requests"] == before["requests"] + 2


def ask(url: str, prompt: str = "Once upon", tokens: int = 16) -> char_service.Answer:
    with char_service.client() as over:
        return char_service.ask(over, url, prompt, tokens)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("no JSON", "a request is"),
        ("[1]", "a request is"),
        ('{"tokens": 3}', "a request is"),
        ('{"prompt": 3}', "prompt is a text"),
        ('{"prompt": "Once", "tokens": 0}', "a number from 1"),
        ('{"prompt": "Once", "tokens": 100000}', "a number from 1"),
        ('{"prompt": "\\u4e00"}', "does not know"),
    ],
)
def test_what_it_cannot_answer_is_refused_with_the_reason_and_it_goes_on(url: str, body: str, why: str) -> None:
    said = httpx.post(f"{url}/generate", content=body)
    assert said.status_code == 400
    assert why in said.json()["error"]
    assert len(ask(url, tokens=3).text) == 3


def test_an_empty_prompt_is_answered_and_another_page_is_not(url: str) -> None:
    assert len(ask(url, prompt="", tokens=5).text) == 5
    assert httpx.get(f"{url}/elsewhere").status_code == 404
    assert httpx.post(f"{url}/elsewhere", content="{}").status_code == 400
