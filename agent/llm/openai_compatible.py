"""A language model on a server that speaks OpenAI's protocol (vLLM, Ollama, llama.cpp, a cloud); knows no plans."""

from __future__ import annotations

import functools
import json
import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from gedanken.agent.llm.adapter import Adapter, available
from gedanken.agent.llm.dialogue import without_thoughts
from gedanken.agent.llm.grammar import ending, held
from gedanken.agent.llm.protocol import Completion, PromptTooLong, ServerError, Training, without_password
from gedanken.agent.llm.vllm_server import NAME

GrammarField = Literal["structured_outputs", "guided_grammar", "grammar", "none"]
"""How a server takes a grammar: vLLM, vLLM before 0.12, llama.cpp (which reads GBNF, not Lark), or not at all."""

_RETRIED = (408, 409, 425, 429, 500, 502, 503, 504)
_MAX_ANSWER_BYTES = 4_000_000
_MAX_WAIT_S = 20.0
_MAX_AT_ONCE = 16  # requests on the way at once
_NO_CHAT = re.compile(r"chat.?template", re.IGNORECASE)
_TOO_LONG = re.compile(r"context.?(length|size|window)|(prompt|input).{0,40}too long|exceed_context", re.IGNORECASE)


class _Refused(ServerError):
    """The server refuses a request, and would refuse it again."""

    def __init__(self, message: str, *, chat: bool) -> None:
        super().__init__(message)
        self.chat = chat  # that it is asked as in a chat


class _Loose(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Message(_Loose):
    content: str | None = None


class _Token(_Loose):
    logprob: float | None = None


class _LogProbs(_Loose):
    token_logprobs: list[float | None] | None = None
    content: list[_Token] | None = None

    def total(self) -> float:
        if self.token_logprobs is not None:
            return sum(value for value in self.token_logprobs if value is not None)
        return sum(math.nan if token.logprob is None else token.logprob for token in self.content or [_Token()])


class _Candidate(_Loose):
    text: str | None = None
    message: _Message | None = None
    finish_reason: str | None = None
    logprobs: _LogProbs | None = None


class _Usage(_Loose):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Answer(_Loose):
    choices: list[_Candidate]
    usage: _Usage | None = None


class _Model(_Loose):
    id: str


class _Models(_Loose):
    data: list[_Model]


class ServerModel:
    """Completions from a server; requests for several prompts go out side by side.

    `chat` asks the chat endpoint, with the prompt as the user's one message, in the model's chat template; otherwise
    the plain completions endpoint. By default a model is asked as in a chat, but for the embedded one, adapters, and
    what has no chat template. What a model thinks before it answers is left out.

    The key is taken from the environment variable `OPENAI_API_KEY` unless given. Every answer has to be here whole
    within `timeout_s`, and is asked for again, `retries` times at most, where the server says "later", the line is cut,
    or it can't be read. `baseline` is not used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        model: str | None = None,
        chat: bool | None = None,
        grammar_field: GrammarField = "structured_outputs",
        api_key: str | None = None,
        timeout_s: float = 60.0,
        retries: int = 3,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not without_password(base_url).startswith(("http://", "https://")):
            raise ServerError(f"{base_url!r} is no server address: write http://host:port/v1.")
        key = api_key or os.environ.get("OPENAI_API_KEY")
        self._url = base_url.rstrip("/")
        self._timeout_s = timeout_s
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout_s, connect=min(10.0, timeout_s)),
            headers={"Authorization": f"Bearer {key}"} if key else {},
            transport=transport,
        )
        self._model = model
        self._chat = chat
        self._grammar_field = grammar_field
        self._retries = retries
        self._sleep = sleep

    @classmethod
    def from_address(cls, address: str) -> ServerModel:
        """Read `http://host:8000/v1#model`; without `#model` the server's first model, without a path `/v1`."""
        url, _, model = address.partition("#")
        if url.count("/") == 2 + url.endswith("/"):
            url = url.rstrip("/") + "/v1"
        return cls(url, model=model or None)

    @property
    def name(self) -> str:
        """The model's name on the server and the server's address."""
        return f"{self._model or 'default'} at {self._url}"

    def close(self) -> None:
        """Close the connections; nothing can be asked afterwards."""
        self._client.close()

    @functools.cached_property
    def training(self) -> Training | None:
        """What the served adapter was trained on: a model is one where it has the name of an adapter here.

        None for other models. Raises ServerError where the server has to be asked for its model and doesn't answer.
        """
        path = available().get(self._known_model())
        return Adapter.open(path).training if path else None

    def complete(
        self,
        prompts: Sequence[str],
        *,
        n: int,
        grammar: str | None,
        temperature: float,
        max_tokens: int,
        stop: Sequence[str] = (),
        seed: int,
        baseline: str | None = None,
        exclude: Sequence[str] = (),
    ) -> list[list[Completion]]:
        """See `LanguageModel.complete`. At temperature 0 one candidate is asked for: more would be the same."""
        if not prompts:
            return []
        settings: dict[str, Any] = {
            "model": self._known_model(),
            "n": n if temperature > 0 else 1,
            "temperature": temperature,
            "max_tokens": max_tokens,
            "seed": seed,
            **({"stop": list(stop)} if stop else {}),
            **self._grammar(grammar, stop),
        }
        if self._chat is None:
            self._chat = settings["model"] != NAME and self.training is None
        with ThreadPoolExecutor(min(len(prompts), _MAX_AT_ONCE)) as pool:
            answers = list(pool.map(lambda prompt: self._ask(prompt, settings, grammar), prompts))
        return [[completion for completion in answer if completion.text.strip() not in exclude] for answer in answers]

    def _said(self, prompt: str, settings: Mapping[str, Any]) -> Any:
        """Ask as in a chat where the model can, see the class; whether it can is found out once."""
        if self._chat:
            try:
                body = {**settings, "logprobs": True, "messages": [{"role": "user", "content": prompt}]}
                return self._request("POST", "/chat/completions", body)
            except _Refused as error:
                if error.chat:
                    raise
                self._chat = False
        return self._request("POST", "/completions", {**settings, "logprobs": 1, "prompt": prompt})

    def _ask(self, prompt: str, settings: Mapping[str, Any], grammar: str | None) -> list[Completion]:
        began = time.perf_counter()
        data = self._said(prompt, settings)
        try:
            answer = _Answer.model_validate(data)
        except ValidationError as error:
            raise ServerError(
                self._nonsense(f"{error.error_count()} fields missing or wrong, {data!r:.200}")
            ) from error
        if not answer.choices:
            raise ServerError(self._nonsense("no choices"))
        seconds = time.perf_counter() - began
        usage = answer.usage or _Usage()
        each = usage.completion_tokens // len(answer.choices)
        completions = [self._completion(c, usage.prompt_tokens, each, seconds) for c in answer.choices]
        if grammar is not None and self._grammar_field != "grammar":
            completions = held(completions, grammar, self._url)
        return sorted(completions, key=lambda c: -c.log_probability if not math.isnan(c.log_probability) else 0.0)

    def _completion(self, candidate: _Candidate, prompt_tokens: int, tokens: int, seconds: float) -> Completion:
        text = candidate.message.content if candidate.message is not None else candidate.text
        truncated = candidate.finish_reason == "length"
        if text is None and not truncated:  # cut off while it thinks, a model has said nothing
            raise ServerError(self._nonsense("a choice without text"))
        log_probability = candidate.logprobs.total() if candidate.logprobs is not None else math.nan
        return Completion(without_thoughts(text or ""), log_probability, prompt_tokens, tokens, seconds, truncated)

    def _grammar(self, grammar: str | None, stop: Sequence[str]) -> dict[str, Any]:
        """Return the field that holds the grammar."""
        if grammar is None or self._grammar_field == "none":
            return {}
        if self._grammar_field != "grammar":
            grammar = ending(grammar, stop)
        if self._grammar_field == "structured_outputs":
            return {"structured_outputs": {"grammar": grammar}}
        return {self._grammar_field: grammar}

    def _known_model(self) -> str:
        if self._model is None:
            try:
                models = _Models.model_validate(self._request("GET", "/models", None)).data
            except ValidationError as error:
                raise ServerError(self._nonsense("its list of models")) from error
            if not models:
                raise ServerError(f"{self._url} serves no model: start it with one, or name one after '#'.")
            self._model = models[0].id
        return self._model

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        reasons: list[str] = []
        wait, content = 0.0, b""
        for attempt in range(self._retries + 1):
            if attempt:
                self._sleep(min(_MAX_WAIT_S, max(0.5 * 2.0**attempt, wait)))
            try:
                status, wait, content = self._receive(method, path, body)
                if status not in _RETRIED:
                    self._check(status, path, content)
                    return json.loads(content)
                reasons.append(f"status {status}")
            except httpx.InvalidURL as error:
                raise ServerError(f"{self._url!r} is no server address ({error}): write http://host:port/v1") from error
            except httpx.TimeoutException:
                reasons.append("no answer in time")
            except httpx.HTTPError as error:
                reasons.append(str(error) or type(error).__name__)
            except (ValueError, RecursionError):
                reasons.append(f"not JSON: {content[:80]!r}")
        raise ServerError(
            f"{self._url}{path} did not answer after {self._retries + 1} tries ({', '.join(reasons)}). Is the server"
            " up? Check the address, or use --llm embedded."
        )

    def _receive(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, float, bytes]:
        """Return status, the seconds that the server wants to be left alone for, and what it said, in bounded time."""
        until = time.monotonic() + self._timeout_s
        content = bytearray()
        with self._client.stream(method, self._url + path, json=body) as response:
            for piece in response.iter_bytes():
                content += piece
                if len(content) > _MAX_ANSWER_BYTES:
                    raise ServerError(self._nonsense(f"more than {_MAX_ANSWER_BYTES} bytes"))
                if time.monotonic() > until:
                    raise httpx.ReadTimeout("it goes on and on")
        later = response.headers.get("Retry-After", "")
        return response.status_code, float(later) if later.isdecimal() else 0.0, bytes(content)

    def _check(self, status: int, path: str, content: bytes) -> None:
        """Raise the ServerError, or PromptTooLong, that a status means."""
        if status < 400:
            return
        said = content[:300].decode(errors="replace")
        if status in (401, 403):
            raise ServerError(f"{self._url} refuses the key (status {status}): set OPENAI_API_KEY.")
        message = f"{self._url} refuses the request with status {status}: {said}"
        if status in (400, 413, 422) and _TOO_LONG.search(said):
            raise PromptTooLong(message)
        raise _Refused(message, chat=not (status in (404, 405, 501) or _NO_CHAT.search(said)))

    def _nonsense(self, what: str) -> str:
        return f"{self._url} gave an answer that makes no sense ({what}); is it an OpenAI-compatible server?"
