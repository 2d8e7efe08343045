"""The planner learns from what really came of its plans: in rounds it proposes, rehearses, acts, and is trained on it.

No plan is given to it as the right one. A lesson is a prompt that it was asked, and the plan that was then carried out
and met the goal; so a plan that was found only by revision becomes a lesson for the first prompt, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from gedanken.agent.agent import Agent
from gedanken.agent.events import Event, Perceived, Proposed
from gedanken.agent.goals import GoalError
from gedanken.agent.llm.adapter import Adapter, adapters_home
from gedanken.agent.llm.fetch import weights_digest
from gedanken.agent.llm.protocol import Completion, LanguageModel, LLMError
from gedanken.agent.llm.relay import Relay, Settings
from gedanken.agent.llm.tune import Examples, TuneConfig, Tuner
from gedanken.agent.plan_practice import PROMPT, Practice, Tasks
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED, refuse_evaluation_seeds
from gedanken.worlds.protocol import Wording
from gedanken.worlds.spoken import SpeakingWorld

FIRST_SEED = FIRST_TRAINING_SEED + 800_000_000
"""Of the environments in which plans are tried; no other training uses these."""

FIRST_TEST_SEED = 90_000_000
"""Of those in which each round's adapter is measured; like all seeds below 2³⁰ no training uses them."""

TRIES = "tries.jsonl"


class PlanLearning(BaseModel):
    """How a planner learns from its own plans.

    Attributes:
        rounds: of trying and training.
        goals: tried in each round, in words for training.
        candidates, temperature: of the plans proposed for each; more than in use, so that there is something to find.
        steps, rate: gradient steps of a round on all lessons so far, and their peak learning rate.
        practice: share of examples that are no lessons, but what the planner was taught in the beginning.
        test: goals that every round's adapter and the first one are measured on, in words for testing; none is learned.
        seed: of goals and words.
    """

    rounds: int = Field(default=3, ge=1, le=50)
    goals: int = Field(default=100, ge=1, le=10_000)
    candidates: int = Field(default=8, ge=1, le=64)
    temperature: float = Field(default=1.0, ge=0, le=2)
    steps: int = Field(default=40, ge=1)
    rate: float = Field(default=1e-4, gt=0)
    practice: float = Field(default=0.3, ge=0, lt=1)
    test: int = Field(default=0, ge=0, le=10_000)
    seed: int = Field(default=0, ge=0, lt=20)


@dataclass(frozen=True)
class Lesson:
    """A prompt, and the plan that met its goal."""

    prompt: str
    plan: str


@dataclass(frozen=True)
class Try:
    """What came of one goal.

    `plans` counts the different ones of the first question, `first` says that the first of them was carried out.
    """

    world: str
    seed: int
    goal: str
    reached: bool
    plans: int
    first: bool
    lessons: tuple[Lesson, ...] = ()


class Lessons:
    """Examples for `llm.tune`, without end: lessons, and a share of `practice`; the same index gives the same one."""

    def __init__(self, lessons: Sequence[Lesson], practice: Examples, share: float, seed: int) -> None:
        self._lessons, self._practice, self._share, self._seed = lessons, practice, share, seed

    def __call__(self, index: int) -> tuple[str, str]:
        """Return the prompt and the answer of one example."""
        rng = np.random.default_rng((self._seed, index, 19))
        if rng.random() < self._share:
            return self._practice(index)
        lesson = self._lessons[int(rng.integers(len(self._lessons)))]
        return lesson.prompt, f"{lesson.plan}\n"


class _Overheard(Relay):
    """Remembers the prompts since the surroundings were last looked at, and the plans of the first question of all."""

    def __init__(self, llm: LanguageModel) -> None:
        super().__init__(llm)
        self.prompts: list[str] = []
        self.first: list[str] | None = None

    def relayed(self, prompts: list[str], settings: Settings) -> list[list[Completion]]:
        """See `Relay`."""
        self.prompts += prompts
        return settings.ask(self.llm, prompts)

    def hear(self, event: Event) -> None:
        """Follow a run; between two looks around nothing is done, so that a plan answers all of the prompts."""
        if isinstance(event, Perceived):
            self.prompts = []
        elif isinstance(event, Proposed) and self.first is None:
            self.first = [candidate.plan for candidate in event.candidates]


def try_goals(
    agent: Agent,
    make_world: Callable[[str], SpeakingWorld],
    levels: Sequence[str],
    seeds: Sequence[int],
    wording: Wording = "training",
) -> Iterator[Try]:
    """Let an agent pursue one goal per seed, the levels taking turns, and yield what really came of it.

    A goal that can't be said, has more words than the critic reads, or is not the level's own mission (to put down what
    is in hand), is passed over. Raises ValueError for seeds that are kept for evaluation, unless words for testing say
    that nothing is learned.
    """
    if wording == "training":
        refuse_evaluation_seeds(seeds)
    tasks = Tasks(make_world)
    for seed in seeds:
        level = levels[seed % len(levels)]
        task = tasks.task(level, seed, np.random.default_rng((seed, 23)), wording, look=False)
        if task is None or all(step.skill == "drop" for step in task.goal.plan.steps):
            continue
        here, heard = agent.elsewhere(tasks.world(level)), _Overheard(agent.llm)
        here.llm = heard
        session = here.session(seed, free=False)
        try:
            outcome = here.run(task.goal.text, session, on_event=heard.hear)
        except GoalError:
            continue
        finally:
            session.close()
        reached, plans = session.reward > 0, heard.first or []
        lessons = tuple(Lesson(prompt, outcome.plan) for prompt in heard.prompts) if reached and outcome.plan else ()
        first = bool(plans) and outcome.plan == plans[0] and outcome.replans == 0
        yield Try(level, seed, task.goal.text, reached, len(plans), first, lessons)


def learn_to_plan(
    agent: Callable[[Adapter, dict[str, Any]], Agent],
    make_world: Callable[[str], SpeakingWorld],
    levels: Sequence[str],
    begin: Adapter,
    base: Path,
    learning: PlanLearning,
    *,
    name: str,
    folder: Path,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Go through the rounds and return the last adapter, ``NAME-1`` being the first; goes on in the same `folder`.

    `agent` makes one whose language model, `base` being its folder, has an adapter, and whose `LoopConfig` has changes.
    Raises LLMError where no plan at all came true.
    """
    widely = {"candidates": learning.candidates, "temperature": learning.temperature}
    adapter, lessons, tested, rounds = begin, list[Lesson](), list[dict[str, Any]](), list[dict[str, Any]]()

    def tries_of(file: Path, seeds: range, wording: Wording, **changes: Any) -> list[Try]:
        file.parent.mkdir(parents=True, exist_ok=True)
        tries = _read(file)
        if left := range(seeds.start + _done(tries, seeds.start), seeds.stop):
            for tried in try_goals(agent(adapter, {"learn_steps": 0, **changes}), make_world, levels, left, wording):
                with file.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(asdict(tried)) + "\n")
                tries.append(tried)
        return tries

    def measure(number: int) -> None:
        seeds = range(FIRST_TEST_SEED, FIRST_TEST_SEED + learning.test)
        if seeds:
            tries = tries_of(folder / f"test-{number}.jsonl", seeds, "test")
            tested.append(summary(tries))
            say(told(f"{adapter.name}, test", tries))

    measure(0)
    for number in range(1, learning.rounds + 1):
        work, path = folder / str(number), adapters_home() / f"{name}-{number}"
        first = FIRST_SEED + (learning.seed * 50 + number) * 10_000
        tries = tries_of(work / TRIES, range(first, first + learning.goals), "training", **widely)
        lessons += [lesson for tried in tries for lesson in tried.lessons]
        rounds.append(summary(tries))
        say(told(f"round {number}", tries) + f"; {sum(len(tried.lessons) for tried in tries)} lessons")
        if not lessons:
            raise LLMError("none of the plans met its goal, so there is nothing to learn from; --goals may be raised")
        if not path.exists():
            practice = Practice(make_world, tuple(levels), seed=learning.seed + 100 * number)
            how = TuneConfig.model_validate(
                adapter.card["training"]
                | {"steps": learning.steps, "rate": learning.rate, "warmup": max(1, learning.steps // 10)}
                | {"seed": learning.seed, "save_every": 10}
            )
            tuner = Tuner(base, Lessons(lessons, practice, learning.practice, number), how, work, begin=adapter)
            loss = [row["loss"] for row in tuner.train()]
            say(f"round {number}: {learning.steps} gradient steps on {len(lessons)} lessons, loss {_span(loss)}")
            tuner.save(
                path,
                {
                    "prompt": PROMPT,
                    "declines": adapter.training.declines,
                    "supposes": adapter.training.supposes,
                    "base": adapter.card["base"],
                    "base_sha256": weights_digest(base),
                    "begins_from": adapter.name,
                    "data": f"{len(lessons)} lessons of {number} rounds, plans of its own that met their goals"
                    f" ({rounds[-1]['reached']} of {len(tries)} in the last round); {learning.practice:.0%} of the"
                    " examples are what a planner is taught in the beginning",
                    "rounds": rounds,
                    "tested_before": tested,
                    "levels": list(levels),
                    "learning": learning.model_dump(),
                },
            )
        adapter = Adapter.open(path)
        measure(number)
    return adapter.path


def summary(tries: Sequence[Try]) -> dict[str, Any]:
    """Return how many goals were reached, how many with the first plan, and the different plans a goal."""
    return {
        "goals": len(tries),
        "reached": sum(tried.reached for tried in tries),
        "with the first plan": sum(tried.reached and tried.first for tried in tries),
        "different plans": round(sum(tried.plans for tried in tries) / max(1, len(tries)), 2),
    }


def told(what: str, tries: Sequence[Try]) -> str:
    """Say what came of some goals."""
    about = summary(tries)
    return (
        f"{what}: {about['reached']} of {about['goals']} goals reached, with the first plan"
        f" {about['with the first plan']}; {about['different plans']:.1f} different plans a goal"
    )


def _span(losses: Sequence[float]) -> str:
    tenth = max(1, len(losses) // 10)
    ends = losses[:tenth], losses[-tenth:]
    return " → ".join(f"{sum(end) / len(end):.3f}" for end in ends) if losses else "as before"


def _read(path: Path) -> list[Try]:
    if not path.exists():
        return []
    whole, _, cut_off = path.read_text(encoding="utf-8").rpartition("\n")
    if cut_off:  # by a kill while it was written
        path.write_text(f"{whole}\n" if whole else "", encoding="utf-8")
    rows = [json.loads(line) for line in whole.splitlines()]
    return [Try(**{**row, "lessons": tuple(Lesson(**lesson) for lesson in row["lessons"])}) for row in rows]


def _done(tries: Sequence[Try], first: int) -> int:
    """Return how many seeds were tried; of those passed over the last leave no trace and are tried again."""
    return tries[-1].seed + 1 - first if tries else 0


__all__ = ["Lesson", "Lessons", "PlanLearning", "Try", "learn_to_plan", "summary", "told", "try_goals"]
