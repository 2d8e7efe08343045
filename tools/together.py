"""Questions of several threads answered together: while one batch is answered, the next one gathers. Knows no run."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from gedanken.agent.llm.protocol import Completion, LanguageModel
from gedanken.agent.llm.relay import Relay, Settings
from gedanken.worldmodel.actor import Actor, Pursuit
from gedanken.worldmodel.checkpoint import Trained, TrainedDynamics
from gedanken.worldmodel.protocol import Belief
from gedanken.worldmodel.rehearse import Rehearsal
from gedanken.worlds.spec import Plan

Q = TypeVar("Q")
A = TypeVar("A")

MOST_PLANS = 64
"""Plans that are imagined in one batch; each is imagined many times."""


class Gathered(Generic[Q, A]):
    """Answers questions one batch at a time: all those that were asked while the batch before was answered.

    An error of a batch is raised where each of its questions was asked. Answering holds `floor`.
    """

    def __init__(self, answer: Callable[[list[Q]], Sequence[A]], floor: threading.Lock | None = None) -> None:
        self._answer, self._floor = answer, floor or threading.Lock()
        self._asked: list[tuple[Q, Future[A]]] = []
        self._door = threading.Lock()

    def ask(self, question: Q) -> A:
        """Return the answer to a question, whoever of those who wait gets it answered."""
        mine: Future[A] = Future()
        with self._door:
            self._asked.append((question, mine))
        with self._floor:
            with self._door:
                batch, self._asked = self._asked, []
            if batch:
                self._settle(batch)
        return mine.result()

    def _settle(self, batch: Sequence[tuple[Q, Future[A]]]) -> None:
        try:
            answers = self._answer([question for question, _ in batch])
        except BaseException as error:  # raised where it was asked
            for _, future in batch:
                future.set_exception(error)
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                future.set_result(answer)


class SharedModel(Relay):
    """A `LanguageModel` for several threads: prompts that come with the same settings are answered in one batch."""

    def __init__(self, llm: LanguageModel) -> None:
        super().__init__(llm)
        self._gathered = Gathered(self._answer)

    def relayed(self, prompts: list[str], settings: Settings) -> list[list[Completion]]:
        """See `Relay`."""
        return self._gathered.ask((prompts, settings))

    def _answer(self, asked: list[tuple[list[str], Settings]]) -> list[list[list[Completion]]]:
        wanted: dict[Settings, dict[str, list[Completion]]] = {}
        for prompts, settings in asked:
            wanted.setdefault(settings, {}).update(dict.fromkeys(prompts, []))
        for settings, answers in wanted.items():
            distinct = list(answers)
            answers.update(zip(distinct, settings.ask(self.llm, distinct), strict=True))
        return [[list(wanted[settings][prompt]) for prompt in prompts] for prompts, settings in asked]


# ---- rehearsals ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Imagined:
    """Plans that are to be rehearsed; `kind` is what futures have to have in common to be imagined in one batch."""

    belief: Belief
    plans: tuple[Plan, ...]
    begins: tuple[int, ...]
    kind: tuple[tuple[str, Any], ...]
    watch: Callable[[Tensor], None] | None

    def goes_with(self, other: Imagined) -> bool:
        """Whether both speak of futures of the same kind from the same belief."""
        return self.kind == other.kind and all(
            torch.equal(getattr(self.belief, f.name), getattr(other.belief, f.name)) for f in fields(self.belief)
        )


class SharedActor:
    """An `Actor` for several threads: plans to be rehearsed from the same belief are imagined in one batch.

    What is drawn for a plan then depends on who else asks, as it depends on the other plans of a rehearsal.
    """

    def __init__(self, actor: Actor, floor: threading.Lock | None = None) -> None:
        self.actor = actor
        self._gathered = Gathered(self._answer, floor)

    def pursue(self, plan: Plan, index: int) -> Pursuit:
        """See `Actor`."""
        return self.actor.pursue(plan, index)

    def rehearse(
        self,
        belief: Belief,
        plans: Sequence[Plan],
        begins: Sequence[int],
        *,
        samples: int,
        horizon: int,
        standstill: int,
        seed: int,
        inputs: Mapping[str, float] | None = None,
        watch: Callable[[Tensor], None] | None = None,
    ) -> Rehearsal:
        """See `Actor`."""
        settings = {"samples": samples, "horizon": horizon, "standstill": standstill, "seed": seed}
        given = None if inputs is None else tuple(sorted(inputs.items()))
        kind = (*settings.items(), ("inputs", given))
        return self._gathered.ask(Imagined(belief, tuple(plans), tuple(begins), kind, watch))

    def _answer(self, asked: list[Imagined]) -> list[Rehearsal]:
        answers: dict[int, Rehearsal] = {}
        for first in range(len(asked)):
            if first in answers:
                continue
            alike, plans = [first], len(asked[first].plans)
            for index in range(first + 1, len(asked)):
                more = len(asked[index].plans)
                if index not in answers and plans + more <= MOST_PLANS and asked[first].goes_with(asked[index]):
                    alike.append(index)
                    plans += more
            answers.update(zip(alike, self._rehearse([asked[index] for index in alike]), strict=True))
        return [answers[index] for index in range(len(asked))]

    def _rehearse(self, alike: Sequence[Imagined]) -> list[Rehearsal]:
        ends = list(itertools.accumulate(len(question.plans) for question in alike))
        rows = [range(end - len(question.plans), end) for question, end in zip(alike, ends, strict=True)]

        def watch(views: Tensor) -> None:
            for question, mine in zip(alike, rows, strict=True):
                if question.watch:
                    question.watch(views[mine.start : mine.stop])

        settings = dict(alike[0].kind)
        inputs = settings.pop("inputs")
        whole = self.actor.rehearse(
            alike[0].belief,
            [plan for question in alike for plan in question.plans],
            [begin for question in alike for begin in question.begins],
            inputs=None if inputs is None else dict(inputs),
            watch=watch if any(question.watch for question in alike) else None,
            **settings,
        )
        return [whole[mine] for mine in rows]


@dataclass(frozen=True)
class _SharedTrained(Trained):
    shared: Actor = field(kw_only=True)

    @property
    def actor(self) -> Actor:
        return self.shared


@dataclass(frozen=True)
class _SharedDynamics(TrainedDynamics):
    shared: Actor = field(kw_only=True)

    @property
    def actor(self) -> Actor:
        return self.shared


def shared(trained: Trained | TrainedDynamics, floor: threading.Lock) -> Trained | TrainedDynamics:
    """Return the same for several threads: what is rehearsed at once is imagined in one batch, holding `floor`."""
    values = {f.name: getattr(trained, f.name) for f in fields(trained)}
    actor = SharedActor(trained.actor, floor)
    kind = _SharedDynamics if isinstance(trained, TrainedDynamics) else _SharedTrained
    return kind(**values, shared=actor)
