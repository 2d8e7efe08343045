"""Questions of several threads answered together: while one batch is answered, the next one gathers. Knows no run."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
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


class _AllGone(BaseException):
    """Nobody waits for a rehearsal any more."""


MOST_PLANS = 64
"""Plans that are imagined in one batch; each is imagined many times."""


class Gathered(Generic[Q, A]):
    """Answers questions one batch at a time: all those that were asked while the batch before was answered.

    An answer that is an error is raised where that question was asked, and an error of a whole batch where each was.
    Answering holds `floor`.
    """

    def __init__(
        self, answer: Callable[[list[Q]], Sequence[A | BaseException]], floor: threading.Lock | None = None
    ) -> None:
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
                if isinstance(answer, BaseException):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)


class SharedModel(Relay):
    """A `LanguageModel` for several threads: prompts that come with the same settings are answered in one batch."""

    def __init__(self, llm: LanguageModel) -> None:
        super().__init__(llm)
        self._gathered = Gathered(self._answer)

    def relayed(self, prompts: list[str], settings: Settings) -> list[list[Completion]]:
        """See `Relay`."""
        return self._gathered.ask((prompts, settings))

    def _answer(self, asked: list[tuple[list[str], Settings]]) -> list[list[list[Completion]] | BaseException]:
        answers: dict[int, list[list[Completion]] | BaseException] = {}
        for settings in dict.fromkeys(settings for _, settings in asked):
            alike = [index for index, (_, own) in enumerate(asked) if own == settings]
            answers.update(self._alike({index: asked[index][0] for index in alike}, settings))
        return [answers[index] for index in range(len(asked))]

    def _alike(
        self, asked: Mapping[int, list[str]], settings: Settings
    ) -> dict[int, list[list[Completion]] | BaseException]:
        """Answer questions of the same settings; where that fails, each alone, for the fault may be another's."""
        distinct = list(dict.fromkeys(prompt for prompts in asked.values() for prompt in prompts))
        try:
            said = dict(zip(distinct, settings.ask(self.llm, distinct), strict=True))
        except Exception as error:
            if len(asked) == 1:
                return dict.fromkeys(asked, error)
            return {i: answer for one in asked for i, answer in self._alike({one: asked[one]}, settings).items()}
        return {index: [list(said[prompt]) for prompt in prompts] for index, prompts in asked.items()}


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
        self.actor, self._floor = actor, floor or threading.Lock()
        self._gathered = Gathered(self._answer, self._floor)

    def pursue(self, plan: Plan, index: int) -> Pursuit:
        """See `Actor`."""
        return self.actor.pursue(plan, index)

    def prepare(self, plans: Sequence[Plan]) -> Iterator[str]:
        """See `Actor`; what one practises, the others need not, and rehearse when it is done."""
        steps = self.actor.prepare(plans)
        while True:
            with self._floor:
                step = next(steps, None)
            if step is None:
                return
            yield step

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

    def _answer(self, asked: list[Imagined]) -> list[Rehearsal | BaseException]:
        answers: dict[int, Rehearsal | BaseException] = {}
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

    def _rehearse(self, alike: Sequence[Imagined]) -> list[Rehearsal | BaseException]:
        """Imagine together; who watches may leave, by an error of his own, and the others go on."""
        ends = list(itertools.accumulate(len(question.plans) for question in alike))
        rows = [range(end - len(question.plans), end) for question, end in zip(alike, ends, strict=True)]
        gone: dict[int, BaseException] = {}

        def watch(views: Tensor) -> None:
            for index, (question, mine) in enumerate(zip(alike, rows, strict=True)):
                if question.watch and index not in gone:
                    try:
                        question.watch(views[mine.start : mine.stop])
                    except BaseException as error:  # raised where it was asked
                        gone[index] = error
            if len(gone) == len(alike):
                raise _AllGone

        settings = dict(alike[0].kind)
        inputs = settings.pop("inputs")
        try:
            whole = self.actor.rehearse(
                alike[0].belief,
                [plan for question in alike for plan in question.plans],
                [begin for question in alike for begin in question.begins],
                inputs=None if inputs is None else dict(inputs),
                watch=watch if any(question.watch for question in alike) else None,
                **settings,
            )
        except _AllGone:
            return [gone[index] for index in range(len(alike))]
        except Exception as error:
            return [gone.get(index, error) for index in range(len(alike))]
        return [gone[index] if index in gone else whole[mine] for index, mine in enumerate(rows)]


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
