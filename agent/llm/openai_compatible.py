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
from gedanken.agent.llm.protocol import Completion, GrammarError, ServerError, Training, without_password

GrammarField = Literal["structured_outputs", "guided_grammar", "grammar", "none"]
"""How a server takes a grammar: vLLM, vLLM before 0.12, llama.cpp (which reads GBNF, not Lark), or not at all."""

_RETRIED = (408, 409, 425, 429, 500, 502, 503, 504)
_MAX_ANSWER_BYTES = 4_000_000
_MAX_WAIT_S = 20.0
_MAX_AT_ONCE = 16  # requests on the way at once


class _Loose(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Message(_Loose):
    content: str | None = None


class _LogProbs(_Loose):
    token_logprobs: list[float | None] | None = None
    content: list[dict[str, Any]] | None = None

    def total(self) -> float:
        if self.token_logprobs is not None:
            return sum(value for value in self.token_logprobs if value is not None)
        return sum(float(entry.get("logprob", math.nan)) for entry in self.content or [{}])


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

    `chat` asks the chat endpoint, with the prompt as the user's one message; otherwise the plain completions endpoint.
    The key is taken from the environment variable `OPENAI_API_KEY` unless given. Every request has a timeout, and is
    tried again, `retries` times at most, after an answer that says "later". `baseline` is not used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        model: str | None = None,
        chat: bool = False,
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
            **({"logprobs": True} if self._chat else {"logprobs": 1}),
            **self._grammar(grammar, stop),
        }
        with ThreadPoolExecutor(min(len(prompts), _MAX_AT_ONCE)) as pool:
            answers = list(pool.map(lambda prompt: self._ask(prompt, settings, grammar), prompts))
        return [[completion for completion in answer if completion.text.strip() not in exclude] for answer in answers]

    def _ask(self, prompt: str, settings: Mapping[str, Any], grammar: str | None) -> list[Completion]:
        began = time.perf_counter()
        if self._chat:
            body = {**settings, "messages": [{"role": "user", "content": prompt}]}
            data = self._request("POST", "/chat/completions", body)
        else:
            data = self._request("POST", "/completions", {**settings, "prompt": prompt})
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
            completions = self._held(completions, grammar)
        return sorted(completions, key=lambda c: -c.log_probability if not math.isnan(c.log_probability) else 0.0)

    def _completion(self, candidate: _Candidate, prompt_tokens: int, tokens: int, seconds: float) -> Completion:
        text = candidate.message.content if candidate.message is not None else candidate.text
        if text is None:
            raise ServerError(self._nonsense("a choice without text"))
        log_probability = candidate.logprobs.total() if candidate.logprobs is not None else math.nan
        truncated = candidate.finish_reason == "length"
        return Completion(text, log_probability, prompt_tokens, tokens, seconds, truncated)

    def _held(self, completions: list[Completion], grammar: str) -> list[Completion]:
        """Those that match the grammar; a server that ignores it is found out here."""
        from gedanken.agent.llm.grammar import matches

        kept = [c for c in completions if matches(grammar, c.text)]
        if not kept:
            raise GrammarError(
                f"{self._url} did not keep to the grammar; it said {completions[0].text[:80]!r}. Raise max_tokens if it"
                f" was cut off, or choose how the server takes grammars (now {self._grammar_field!r})."
            )
        return kept

    def _grammar(self, grammar: str | None, stop: Sequence[str]) -> dict[str, Any]:
        """Return the field that holds the grammar; it lets a model say that it has finished: else it would go on."""
        if grammar is None or self._grammar_field == "none":
            return {}
        if self._grammar_field != "grammar" and stop:
            ends = " | ".join(map(json.dumps, stop))
            grammar = re.sub(
                r"(?m)^start:(.*)$", lambda rule: f"start: ({rule[1].strip()}) ({ends})?", grammar, count=1
            )
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
        for attempt in range(self._retries + 1):
            if attempt:
                self._sleep(min(_MAX_WAIT_S, 0.5 * 2.0**attempt))
            try:
                response = self._client.request(method, self._url + path, json=body)
            except httpx.TimeoutException:
                reasons.append("no answer in time")
                continue
            except httpx.HTTPError as error:
                reasons.append(str(error) or type(error).__name__)
                continue
            if response.status_code in _RETRIED:
                reasons.append(f"status {response.status_code}")
                continue
            return self._read(response)
        raise ServerError(
            f"{self._url}{path} did not answer after {self._retries + 1} tries ({', '.join(reasons)}). Is the server"
            " up? Check the address, or use --llm embedded."
        )

    def _read(self, response: httpx.Response) -> Any:
        said = response.text[:300]
        if response.status_code in (401, 403):
            raise ServerError(f"{self._url} refuses the key (status {response.status_code}): set OPENAI_API_KEY.")
        if response.is_error:
            raise ServerError(f"{self._url} refuses the request with status {response.status_code}: {said}")
        if len(response.content) > _MAX_ANSWER_BYTES:
            raise ServerError(self._nonsense(f"{len(response.content)} bytes"))
        try:
            return response.json()
        except ValueError as error:
            raise ServerError(self._nonsense(f"not JSON: {said!r}")) from error

    def _nonsense(self, what: str) -> str:
        return f"{self._url} gave an answer that makes no sense ({what}); is it an OpenAI-compatible server?"
