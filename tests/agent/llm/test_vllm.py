"""The real vLLM with the embedded model and its adapters: on a server, and in this process where it is installed.

`make test-vllm` sets the server up and says where it is.
"""

import contextlib
import functools
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from gedanken.agent.config import LoopConfig
from gedanken.agent.llm import LanguageModel, load
from gedanken.agent.llm.adapter import SHIPPED, available
from gedanken.agent.llm.fetch import fetch, fitting
from gedanken.agent.llm.grammar import matches
from gedanken.agent.llm.openai_compatible import ServerModel
from gedanken.agent.llm.protocol import LLMError, PromptTooLong, Training, training_of
from gedanken.agent.llm.vllm_model import VllmModel
from gedanken.agent.llm.vllm_server import CONTEXT, NAME, command, settings
from gedanken.agent.propose import Attempt, propose
from gedanken.worlds.babyai import BabyAIWorld

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1200), pytest.mark.filterwarnings("default")]

STARTS = 600.0  # seconds
WORLD = "BabyAI-UnlockLocalDist-v0"
SCENE = "You see a locked red door ahead, a red key left, a blue ball right. You carry nothing."


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    python = os.environ.get("GEDANKEN_VLLM")
    assert python, "GEDANKEN_VLLM names the Python of vLLM's environment: run `make test-vllm`"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    shipped = {name: path for name, path in available().items() if path.parent == SHIPPED}
    with log.open("w") as out:
        words = command(str(Path(python).absolute()), fetch(), shipped, port)
        server = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, env=settings())
    try:
        until = time.monotonic() + STARTS
        while not _answers(port):
            assert server.poll() is None and time.monotonic() < until, log.read_text()[-4000:]
            time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(60)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).is_success
    except httpx.HTTPError:
        return False


@functools.cache
def in_process(name: str) -> LanguageModel:
    folder = fetch()
    adapter = fitting(folder, available()[name]) if name != NAME else None
    return VllmModel.from_folder(folder, adapter=adapter, max_model_len=CONTEXT)


Served = Callable[[str], contextlib.AbstractContextManager[LanguageModel]]


@pytest.fixture(scope="module", params=["on a server", "in this process"])
def served(request: pytest.FixtureRequest) -> Served:
    if request.param == "in this process":
        pytest.importorskip("vllm")
        return lambda name: contextlib.nullcontext(in_process(name))
    address = request.getfixturevalue("address")

    @contextlib.contextmanager
    def on_a_server(name: str) -> Iterator[LanguageModel]:
        llm = load(f"openai:{address}#{name}")
        assert isinstance(llm, ServerModel)
        with contextlib.closing(llm):
            yield llm

    return on_a_server


def test_it_keeps_to_the_grammar_and_stops(served: Served, grammar: str) -> None:
    prompts = [f"Goal: {goal}\nPlan:\n" for goal in ("go to the red ball", "open the blue door and do a dance")]
    with served(NAME) as llm:
        answers = llm.complete(prompts, n=4, grammar=grammar, temperature=1.0, max_tokens=80, seed=1)
    assert len(answers) == 2 and all(answers)
    for completion in (c for answer in answers for c in answer):
        assert completion.truncated or matches(grammar, completion.text)
        assert completion.log_probability < 0 and completion.prompt_tokens > 0


def test_the_plain_model_is_shown_examples(served: Served) -> None:
    with served(NAME) as llm:
        assert training_of(llm) is None
        proposed = propose(BabyAIWorld(WORLD), llm, SCENE, "go to the blue ball", LoopConfig())
    assert "go_to(blue ball)" in [candidate.plan for candidate in proposed.candidates]


def test_the_shipped_planner_plans(served: Served) -> None:
    world, config = BabyAIWorld(WORLD), LoopConfig()
    with served("planner") as llm:
        assert training_of(llm) == Training("plan", declines=True, supposes=True)
        first = propose(world, llm, SCENE, "pick up the blue ball", config).candidates[0]
        assert first.plan == "pick_up(blue ball)"
        locked = propose(world, llm, SCENE, "open the red door", config)
        assert "pick_up(red key)\nopen(red door)" in [candidate.plan for candidate in locked.candidates]
        tried = [Attempt("open(red door)", "step 1 open(red door) fails in 15 of 16 futures: it stays locked")]
        known = [attempt.plan for attempt in tried]
        again = propose(world, llm, SCENE, "open the red door", config, attempts=tried, known=known)
        assert "open(red door)" not in [candidate.plan for candidate in again.candidates]


def test_what_vllm_refuses_is_an_error_in_words(served: Served) -> None:
    asked = {"n": 1, "temperature": 0.0, "max_tokens": 8, "seed": 0}
    with served(NAME) as llm:
        with pytest.raises(PromptTooLong, match="context|takes"):
            llm.complete(["word " * (CONTEXT + 1)], grammar=None, **asked)
        with pytest.raises(LLMError):
            llm.complete(["x"], grammar="start: (", **asked)


def test_a_scene_without_end_is_shortened(served: Served) -> None:
    scene = "You see a blue ball right" + ", a grey box ahead" * 900 + ". You carry nothing."
    with served("planner") as llm:
        proposed = propose(BabyAIWorld(WORLD), llm, scene, "pick up the blue ball", LoopConfig())
    assert proposed.candidates[0].plan == "pick_up(blue ball)"
