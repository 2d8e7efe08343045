import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from gedanken.agent.config import LoopConfig
from gedanken.agent.llm import GrammarError, LanguageModel, PromptTooLong, ServerError, load
from gedanken.agent.llm.grammar import matches
from gedanken.agent.llm.openai_compatible import ServerModel
from gedanken.agent.llm.protocol import Training, training_of
from gedanken.agent.llm.vllm_server import NAME


def choice(text: str, log_probability: float = -1.0, finish: str = "stop") -> dict[str, Any]:
    return {"text": text, "finish_reason": finish, "logprobs": {"token_logprobs": [None, log_probability]}}


def answer(*texts: str) -> dict[str, Any]:
    choices = [choice(text, -float(i)) for i, text in enumerate(texts)]
    return {"choices": choices, "usage": {"prompt_tokens": 7, "completion_tokens": 4 * len(texts)}}


class Server:
    """Answers in order, the last one for ever; remembers what it was asked."""

    def __init__(self, *responses: httpx.Response | Exception) -> None:
        self.responses = list(responses)
        self.bodies: list[dict[str, Any]] = []
        self.waits: list[float] = []

    def model(self, **settings: Any) -> ServerModel:
        settings = {"model": "small", "retries": 2, "chat": False} | settings
        return ServerModel("http://host/v1", transport=httpx.MockTransport(self), sleep=self.waits.append, **settings)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(json.loads(request.content or b"{}") | {"path": request.url.path})
        response = self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]
        if isinstance(response, Exception):
            raise response
        return response


def ask(model: LanguageModel, *prompts: str, **settings: Any) -> list[list[str]]:
    settings = {"n": 2, "grammar": None, "temperature": 0.7, "max_tokens": 50, "seed": 3} | settings
    return [[c.text for c in completions] for completions in model.complete(prompts, **settings)]


def test_sends_what_it_was_asked_and_reads_the_answer(grammar: str) -> None:
    server = Server(httpx.Response(200, json=answer("drop()\n", "open(door)\n")))
    model = server.model()
    assert isinstance(model, LanguageModel)
    [completions] = model.complete(["P"], n=2, grammar=grammar, temperature=0.7, max_tokens=9, seed=3, stop=["done"])
    assert [(c.text, c.log_probability, c.prompt_tokens, c.completion_tokens) for c in completions] == [
        ("drop()\n", 0.0, 7, 4),
        ("open(door)\n", -1.0, 7, 4),
    ]
    ending = grammar.replace("start: step{1,3}", 'start: (step{1,3}) ("done")?')
    assert server.bodies == [
        {
            "path": "/v1/completions",
            "prompt": "P",
            "model": "small",
            "n": 2,
            "temperature": 0.7,
            "max_tokens": 9,
            "seed": 3,
            "stop": ["done"],
            "logprobs": 1,
            "structured_outputs": {"grammar": ending},
        }
    ]
    assert matches(ending, "drop()\ndone") and matches(ending, "drop()\n") and not matches(grammar, "drop()\ndone")


def test_speaks_chat() -> None:
    message = {"message": {"content": "hello"}, "logprobs": {"content": [{"logprob": -0.5}, {"logprob": -0.25}]}}
    server = Server(httpx.Response(200, json={"choices": [message]}))
    [[completion]] = server.model(chat=True).complete(["P"], n=1, grammar=None, temperature=1, max_tokens=9, seed=0)
    assert (completion.text, completion.log_probability) == ("hello", -0.75)
    assert server.bodies[0]["messages"] == [{"role": "user", "content": "P"}]
    assert server.bodies[0]["path"] == "/v1/chat/completions"


def test_unknown_log_probability_is_nan_and_length_is_truncated() -> None:
    server = Server(httpx.Response(200, json={"choices": [{"text": "x", "finish_reason": "length"}]}))
    [[completion]] = server.model().complete(["P"], n=1, grammar=None, temperature=1, max_tokens=1, seed=0)
    assert math.isnan(completion.log_probability)
    assert completion.truncated


@pytest.mark.parametrize(("field", "sent"), [("guided_grammar", True), ("grammar", True), ("none", False)])
def test_the_grammar_goes_where_the_server_takes_it(grammar: str, field: str, sent: bool) -> None:
    server = Server(httpx.Response(200, json=answer("drop()\n")))
    ask(server.model(grammar_field=field), "P", grammar=grammar)
    assert server.bodies[0].get(field) == (grammar if sent else None)


def test_texts_outside_the_grammar_are_left_out_or_an_error(grammar: str) -> None:
    server = Server(
        httpx.Response(200, json=answer("fly()\n", "drop()\n")), httpx.Response(200, json=answer("fly()\n"))
    )
    model = server.model()
    assert ask(model, "P", grammar=grammar) == [["drop()\n"]]
    with pytest.raises(GrammarError, match="did not keep to the grammar"):
        ask(model, "P", grammar=grammar)


def test_asks_for_the_first_model_once_and_answers_in_order() -> None:
    models = httpx.Response(200, json={"data": [{"id": "first"}, {"id": "second"}]})
    server = Server(models, httpx.Response(200, json=answer("x")))
    model = server.model(model=None)
    assert ask(model, "A", "B", "C", temperature=0) == [["x"], ["x"], ["x"]]
    assert [body["path"] for body in server.bodies].count("/v1/models") == 1
    assert sorted(body["prompt"] for body in server.bodies[1:]) == ["A", "B", "C"]
    assert {body["model"] for body in server.bodies[1:]} == {"first"}
    assert {body["n"] for body in server.bodies[1:]} == {1}
    assert model.name == "first at http://host/v1"


def test_a_served_adapter_gets_the_prompt_that_it_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEDANKEN_HOME", str(tmp_path))
    folder = tmp_path / "adapters" / "mine"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text('{"lora_alpha": 2, "r": 1}')
    (folder / "card.json").write_text('{"format": 1, "prompt": "plan", "base_sha256": "0", "first_layer": 3}')
    models = Server(httpx.Response(200, json={"data": [{"id": "mine"}, {"id": "other"}]}))
    assert [training_of(models.model(model=name)) for name in (None, "mine", "other")] == [Training("plan")] * 2 + [
        None
    ]
    assert [body["path"] for body in models.bodies] == ["/v1/models"]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_tries_again_a_bounded_number_of_times(status: int) -> None:
    server = Server(httpx.Response(status), httpx.Response(200, json=answer("x")))
    assert ask(server.model(), "P") == [["x"]]
    assert server.waits == [1.0]
    server = Server(httpx.Response(status))
    with pytest.raises(ServerError, match=f"3 tries .status {status}, status {status}, status {status}"):
        ask(server.model(), "P")


def test_a_server_that_is_down_slow_or_drops_the_line() -> None:
    for error in (httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("cut")):
        server = Server(error)
        with pytest.raises(ServerError, match="Is the server"):
            ask(server.model(), "P")
        assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("response", "says"),
    [
        (httpx.Response(200, json={"x": 1}), "makes no sense"),
        (httpx.Response(200, json=[1]), "makes no sense"),
        (httpx.Response(200, json={"choices": []}), "no choices"),
        (httpx.Response(200, json={"choices": [{}]}), "without text"),
        (httpx.Response(200, json={"choices": [choice("x") | {"logprobs": {"content": [{"logprob": "y"}]}}]}), "wrong"),
        (httpx.Response(200, content=b" " * 5_000_000), "more than 4000000 bytes"),
        (httpx.Response(401), "OPENAI_API_KEY"),
        (httpx.Response(404, text="no such model"), "404: no such model"),
    ],
)
def test_garbage_is_an_error_that_says_what_came(response: httpx.Response, says: str) -> None:
    server = Server(response)
    with pytest.raises(ServerError, match=says):
        ask(server.model(), "P")
    assert len(server.bodies) == 1


@pytest.mark.parametrize("text", ["<html>", '{"choices": [{"text": "go_to(', "[" * 100_000, ""])
def test_what_can_t_be_read_is_asked_for_again_a_bounded_number_of_times(text: str) -> None:
    server = Server(httpx.Response(200, text=text), httpx.Response(200, json=answer("x")))
    assert ask(server.model(), "P") == [["x"]]
    server = Server(httpx.Response(200, text=text))
    with pytest.raises(ServerError, match="3 tries .not JSON: .*, not JSON: .*, not JSON"):
        ask(server.model(), "P")


def test_a_server_that_names_a_time_is_left_alone_until_then() -> None:
    for header, wait in (("7", 7.0), ("9999", 20.0), ("Wed, 21 Oct 2026", 1.0)):
        server = Server(httpx.Response(429, headers={"Retry-After": header}), httpx.Response(200, json=answer("x")))
        assert ask(server.model(), "P") == [["x"]] and server.waits == [wait]


@pytest.mark.parametrize(
    "said",
    [
        "This model's maximum context length is 2048 tokens. However, you requested 3000 tokens.",
        '{"error": {"code": "context_length_exceeded"}}',
        "the request exceeds the available context size",
    ],
)
def test_a_prompt_that_is_too_long_for_the_server_is_told_apart(said: str) -> None:
    with pytest.raises(PromptTooLong, match="context"):
        ask(Server(httpx.Response(400, text=said)).model(), "P")


def spoken(text: str | None, finish: str = "stop") -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}, "finish_reason": finish}]}


@pytest.mark.parametrize(
    "refusal", [httpx.Response(404), httpx.Response(400, text="you must provide a chat template if the tokenizer …")]
)
def test_a_model_is_asked_as_in_a_chat_unless_it_can_t(refusal: httpx.Response) -> None:
    server = Server(httpx.Response(200, json=spoken("x")))
    assert ask(server.model(chat=None), "P", "Q") == [["x"], ["x"]]
    assert {body["path"] for body in server.bodies} == {"/v1/chat/completions"}
    server = Server(refusal, httpx.Response(200, json=answer("x")))
    model = server.model(chat=None)
    assert ask(model, "P") == ask(model, "P") == [["x"]]
    paths = [body["path"] for body in server.bodies]
    assert paths == ["/v1/chat/completions", "/v1/completions", "/v1/completions"]
    server = Server(httpx.Response(200, json=answer("x")))
    ask(server.model(chat=None, model=NAME), "P")
    ask(server.model(chat=None, model="planner"), "P")
    assert {body["path"] for body in server.bodies} == {"/v1/completions"}
    server = Server(httpx.Response(400, text="n must be 1"))
    with pytest.raises(ServerError, match="n must be 1"):
        ask(server.model(chat=None), "P")


def test_thoughts_are_no_part_of_an_answer(grammar: str) -> None:
    server = Server(httpx.Response(200, json=spoken("<think>open(door)?\nNo.</think>\n\ndrop()\n")))
    assert ask(server.model(chat=True), "P", grammar=grammar) == [["drop()\n"]]
    for lost in (spoken(None, "length"), spoken("<think>drop()\n", "length")):
        with pytest.raises(GrammarError, match="max-tokens"):
            ask(Server(httpx.Response(200, json=lost)).model(chat=True), "P", grammar=grammar)


def test_addresses() -> None:
    assert ServerModel.from_address("http://host:8000/v1#tiny").name == "tiny at http://host:8000/v1"
    for address in ("http://host:8000", "http://host:8000/", "http://host:8000/v1/"):
        assert ServerModel.from_address(f"{address}#tiny").name == "tiny at http://host:8000/v1"
        assert load(f"{address}#tiny").name == load(f"openai:{address}#tiny").name
    with pytest.raises(ServerError, match="no server address"):
        ServerModel.from_address("host:8000")
    with pytest.raises(ServerError, match="no server address"):
        ask(ServerModel.from_address("http://host:oops/v1#x"), "P")


@pytest.mark.parametrize(
    "address", ["openai:http://me:geheim@host/v1#tiny", "https://geheim@host", "http://a:b@c@h/v1"]
)
def test_a_password_in_an_address_is_refused_and_not_repeated(address: str) -> None:
    for take in (load, lambda address: LoopConfig(llm=address)):
        with pytest.raises(ServerError, match="OPENAI_API_KEY") as refused:
            take(address)
        assert "geheim" not in str(refused.value)
    assert LoopConfig(llm="openai:http://host:8000/v1#me@home").llm.endswith("#me@home")


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._reply({"data": [{"id": "tiny"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "prompt" not in body:
            return self.send_error(404)
        self._reply(answer(body["prompt"] + "!"))

    def _reply(self, data: Any) -> None:
        text = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_over_a_real_socket(address: str) -> None:
    assert ask(load(f"openai:{address}"), "A", "B", n=1) == [["A!"], ["B!"]]
