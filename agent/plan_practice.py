"""Practice in planning: a scene, a goal in some words, and the plan that is right, as the prompt and answer of a model.

Pairs are made when they are asked for, from training seeds and training wordings; the same index gives the same pair.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from gedanken.agent import schema_practice
from gedanken.agent.act import not_achieved, stood_still, surprised
from gedanken.agent.critic import reasons
from gedanken.agent.goals import LONGEST_GOAL
from gedanken.agent.propose import Attempt, as_read
from gedanken.agent.verdict import Verdict
from gedanken.agent.whatif import whatif_prompt
from gedanken.prompts import render
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED
from gedanken.worlds.protocol import Observation, Wording, in_the_way
from gedanken.worlds.schema_goals import schema_change, schema_goal
from gedanken.worlds.spec import NONE, Plan, WorldSpec
from gedanken.worlds.spoken import SpeakingWorld, SpokenGoal

PROMPT = "plan"
SCHEMAS = 0.4
"""Share of goals for made-up worlds of numbers."""

OWN, LOOKED, REVISED = 0.2, 0.8, 0.15
"""Shares of the others: in the world's own words, after a look around; and of all that tell of a failed plan."""

FUTURES = 16
"""Of a rehearsal that a failed plan is said to have had."""

UNMET = 0.12
"""Share of all whose goal no plan meets, among them goals of other worlds; the answer is `NONE`."""

OTHER_WORLDS = 0.25
"""Share of those for grids that are goals for made-up worlds of numbers."""

CHANGES = 0.08
"""Share of all that are no goals, but changes of an input in words, as `whatif` asks about them."""

DOUBTED = 0.1
"""Share of plans for grids that are right and were found wanting by chance; the answer is the same plan again."""

REALITY = 0.3
"""Share of locked doors that a failed plan met in reality and not in rehearsal."""

MISTAKEN = 0.1
"""Share of plans for grids that took a wrong key to a locked door; what is seen and held then is told with them."""

WAYS = ("ahead", "ahead", "left", "right", "behind")
"""Where that door is by then."""

TRIES = 64
"""Seeds that belong to one example: the next is taken where a level's goal is none that can be said."""


@dataclass(frozen=True)
class Task:
    """A goal that was said in a scene."""

    world: str
    seed: int
    scene: str
    goal: SpokenGoal


class Tasks:
    """Goals in real environments; worlds are made once and used again."""

    def __init__(self, make_world: Callable[[str], SpeakingWorld]) -> None:
        self._make_world = make_world
        self._made: dict[str, tuple[SpeakingWorld, gymnasium.Env[Any, Any]]] = {}

    def world(self, name: str) -> SpeakingWorld:
        """Return a world, made when it is first asked for."""
        return self._at(name)[0]

    def task(self, name: str, seed: int, rng: np.random.Generator, wording: Wording, *, look: bool) -> Task | None:
        """Reset a world and say its goal; `look` describes what a look around shows, and not the first view only.

        The plan is the one that follows from the scene. None where no plan does, or the goal takes too many words.
        """
        world, env = self._at(name)
        raw, _ = env.reset(seed=seed)
        world.begin_goal(env)
        goal = world.spoken_goal(env, rng, wording)
        if goal is None or len(goal.text) > LONGEST_GOAL:
            return None
        first = world.observation(raw)
        scene = world.describe(*(surroundings(world, env, first) if look else (first, world.spec.grid.agent)))
        known = goal.within([fact for fact in goal.facts if fact in scene])
        return Task(name, seed, scene, known) if known else None

    def _at(self, name: str) -> tuple[SpeakingWorld, gymnasium.Env[Any, Any]]:
        if name not in self._made:
            world = self._make_world(name)
            self._made[name] = world, world.make()
        return self._made[name]


class Practice:
    """Examples for `llm.tune`, without end; `seed` picks the environments' seeds and the words."""

    def __init__(self, make_world: Callable[[str], SpeakingWorld], levels: Sequence[str], seed: int = 0) -> None:
        self._tasks, self._levels, self._seed = Tasks(make_world), tuple(levels), seed

    def __call__(self, index: int) -> tuple[str, str]:
        """Return the prompt and the answer of one example."""
        rng = np.random.default_rng((self._seed, index, 7))
        if rng.random() < CHANGES:
            change = schema_change("training", rng)
            return whatif_prompt(change.inputs, change.text), f"{change.change}\n"
        unmet = bool(rng.random() < UNMET)
        if rng.random() < SCHEMAS:
            asked = schema_goal("training", rng, practice=True)
            if unmet:
                text = self._unmet(self._level(rng), rng)
                return render(PROMPT, scene=asked.scene, goal=as_read(text, asked.scene, asked.spec)), f"{NONE}\n"
            attempts, plan = schema_practice.tried(asked, rng) if rng.random() < REVISED else ([], asked.plan)
            read = as_read(asked.text, asked.scene, asked.spec)
            return render(PROMPT, scene=asked.scene, goal=read, attempts=attempts), f"{plan}\n"
        mistake = bool(rng.random() < MISTAKEN)
        revised, doubted = mistake or bool(rng.random() < REVISED), bool(rng.random() < DOUBTED)
        for turn in range(TRIES):
            level = self._level(rng)
            wording: Wording = "own" if rng.random() < OWN else "training"
            task = self._tasks.task(level, self.env_seed(index, turn), rng, wording, look=bool(rng.random() < LOOKED))
            if task is None:
                continue
            spec = self._tasks.world(level).spec
            if unmet:
                foreign = rng.random() < OTHER_WORLDS
                text = schema_goal("training", rng).text if foreign else self._unmet(level, rng)
                return render(PROMPT, scene=task.scene, goal=as_read(text, task.scene, spec)), f"{NONE}\n"
            attempts, goal = failed(task, rng) if revised else ([], task.goal)
            if revised and not attempts and turn < TRIES // 2:  # nothing can go wrong with it: another goal
                continue
            attempts = [in_reality(attempt) if rng.random() < REALITY else attempt for attempt in attempts]
            scene = task.scene
            if mistake:
                tried = mistaken(attempts, goal.plan, scene, spec, rng)
                if tried is None and turn < TRIES // 2:
                    continue
                attempts, scene = tried or (attempts, scene)
            if doubted:
                attempts = [*attempts, by_chance(goal.plan, scene, rng)]
            prompt = render(PROMPT, scene=scene, goal=as_read(goal.text, scene, spec), attempts=attempts)
            return prompt, f"{goal.plan}\n"
        raise RuntimeError(f"none of {TRIES} seeds gave a goal; are the levels right? {', '.join(self._levels)}")

    def _level(self, rng: np.random.Generator) -> str:
        return self._levels[int(rng.integers(len(self._levels)))]

    def _unmet(self, level: str, rng: np.random.Generator) -> str:
        return self._tasks.world(level).unmet_goal(rng, "training")

    def env_seed(self, index: int, turn: int) -> int:
        """Return the environment's seed of an example's n-th try, a training seed."""
        return FIRST_TRAINING_SEED + (self._seed * 7_919_017 + index * TRIES + turn) % FIRST_TRAINING_SEED


def surroundings(
    world: SpeakingWorld, env: gymnasium.Env[Any, Any], first: Observation
) -> tuple[Observation, tuple[int, int]]:
    """Look around as a session does, and return the map ``[P, P, C]`` of what was seen, the agent in the middle."""
    spec = world.spec.grid
    reach = max(spec.agent[0], spec.height - 1 - spec.agent[0], spec.agent[1], spec.width - 1 - spec.agent[1])
    around = np.full((2 * reach + 1, 2 * reach + 1, first.shape[-1]), 0, dtype=first.dtype)
    around[..., 0] = spec.hidden
    top, left = reach - spec.agent[0], reach - spec.agent[1]
    view = first
    for turns in range(4):
        seen = np.full_like(around, 0)
        seen[..., 0] = spec.hidden
        seen[top : top + spec.height, left : left + spec.width] = view
        seen = np.rot90(seen, turns)  # a turn to the left: what is ahead was to the left
        around = np.where(seen[..., :1] != spec.hidden, seen, around)  # the latest view counts, as in a belief
        raw, *_ = env.step(world.spec.actions.index("left"))
        view = world.observation(raw)
    return around, (reach, reach)


def failed(task: Task, rng: np.random.Generator) -> tuple[list[Attempt], SpokenGoal]:
    """Return wrong plans, with the words in which the critic would tell what is wrong with them, and the goal then.

    A plan that does not know of a locked door meets it, the next one perhaps another; one with steps turned round, or
    one left out, is not what was asked.
    """
    goal = task.goal
    if goal.facts and (any(fact not in task.scene for fact in goal.facts) or rng.random() < 0.7):
        return _locked_out(task, rng)
    steps = goal.plan.steps
    if len(steps) < 2:
        return [], goal
    at = int(rng.integers(len(steps)))
    others = [Plan(steps=steps[::-1]), Plan(steps=(*steps[:at], *steps[at + 1 :]))]
    wrong = others[int(rng.integers(2))]
    if goal.right(wrong):
        return [], goal
    return [Attempt(str(wrong), reasons(_verdict(wrong, None, 0, satisfies=0.1)))], goal


def in_reality(attempt: Attempt) -> Attempt:
    """Tell of a plan that met a locked door as it is told where that happened in reality; others stay as they are."""
    door = re.search(r"a (locked \w+ door) ahead", attempt.reasons)
    failing = re.match(r"step (\d) ", attempt.reasons)
    if not door or not failing:
        return attempt
    step = attempt.plan.split("\n")[int(failing[1]) - 1]
    return Attempt(attempt.plan, in_the_way(step, door[1]))


def mistaken(
    attempts: Sequence[Attempt], right: Plan, scene: str, spec: WorldSpec, rng: np.random.Generator
) -> tuple[list[Attempt], str] | None:
    """Take a wrong key to the locked door that was met last; return what was tried, and what is seen and held then.

    None where no locked door was met, or none for which the right plan fetches the key.
    """
    door = re.search(r"a (locked (\w+) door) ", attempts[-1].reasons) if attempts else None
    if door is None or (key := f"{door[2]} key") not in str(right):
        return None
    colours = [value for a in spec.attributes if door[2] in a.values for value in a.values if value != door[2]]
    in_sight = [colour for colour in colours if f"a {colour} key" in scene]
    taken = in_sight if in_sight and rng.random() < 0.6 else colours
    held = f"{taken[int(rng.integers(len(taken)))]} key"
    wrong = spec.parse_plan(str(right).replace(key, held))
    fetching = next(i for i, step in enumerate(wrong.steps) if held in str(step))
    at = min(fetching + 1, len(wrong.steps) - 1)
    opening = str(wrong.steps[at])
    if rng.random() < 0.3:  # it was only imagined
        verdict = _verdict(wrong, at, int(rng.integers(9, FUTURES + 1)), satisfies=0.9)
        view = f"You see a {door[1]} ahead. You carry a {held}."
        return [*attempts, Attempt(str(wrong), reasons(verdict, view))], scene
    barred = bool(rng.random() < 0.6)
    tried = [Attempt(str(wrong), in_the_way(opening, door[1]))] if barred else list(attempts[-1:])
    for _ in range(int(rng.integers(0 if barred else 1, 3))):
        tried.append(Attempt(str(wrong), _on_the_way(opening, rng)))
    seen, _, _ = scene.removeprefix("You see ").partition(". You carry")
    things = [thing for thing in seen.split(", ") if thing != "no objects" and door[1] not in thing]
    things.insert(int(rng.integers(len(things) + 1)), f"a {door[1]} {WAYS[int(rng.integers(len(WAYS)))]}")
    return tried, f"You see {', '.join(things)}. You carry a {held}."


def by_chance(plan: Plan, scene: str, rng: np.random.Generator) -> Attempt:
    """Tell of a plan that it failed in some futures, or on the way in reality, which says nothing against it."""
    step = plan.steps[at := int(rng.integers(len(plan.steps)))]
    if rng.random() < 0.4:
        return Attempt(str(plan), _on_the_way(str(step), rng))
    seen = scene.removeprefix("You see ").partition(". You carry")[0].split(", ")
    things = [words.rpartition(" ")[0] for words in seen if words.startswith("a ") and "locked" not in words]
    view = f"{things[int(rng.integers(len(things)))]} ahead" if things and rng.random() < 0.7 else "no objects"
    verdict = _verdict(plan, at, int(rng.integers(4, FUTURES + 1)), satisfies=0.9)
    return Attempt(str(plan), reasons(verdict, f"You see {view}. You carry nothing."))


def _on_the_way(step: str, rng: np.random.Generator) -> str:
    """Say how a step failed in reality, without a reason that could be seen."""
    told = (
        not_achieved(step, int(rng.integers(3, 20)) * 4),
        stood_still(step, int(rng.integers(4, 13))),
        surprised(step, float(rng.integers(8, 60))),
    )
    return told[int(rng.integers(len(told)))]


def _locked_out(task: Task, rng: np.random.Generator) -> tuple[list[Attempt], SpokenGoal]:
    """Meet one locked door after the other, up to a number drawn."""
    goal, attempts, met = task.goal, list[Attempt](), list[str]()
    most = int(rng.integers(1, len(goal.facts) + 1))
    hidden = [fact for fact in goal.facts if fact not in task.scene]
    forgotten = goal.facts if rng.random() < 0.5 else hidden
    seen = [fact for fact in goal.facts if fact not in forgotten]
    now = goal.within(seen)
    while now and len(attempts) < most:
        options = [(fact, goal.within(seen, [*met, fact])) for fact in goal.facts if fact not in met]
        found = next(((fact, then) for fact, then in options if then and then.plan != now.plan), None)
        if found is None:
            break
        fact, then = found
        pairs = zip(now.plan.steps, then.plan.steps, strict=False)
        at = next((i for i, (one, other) in enumerate(pairs) if one != other), len(now.plan.steps) - 1)
        verdict = _verdict(now.plan, at, int(rng.integers(9, FUTURES + 1)), satisfies=0.9)
        attempts.append(Attempt(str(now.plan), reasons(verdict, f"You see a {fact} ahead. You carry nothing.")))
        met, now = [*met, fact], then
    return (attempts, now) if attempts and now else ([], goal)


def _verdict(plan: Plan, at: int | None, failed: int, *, satisfies: float) -> Verdict:
    share = 1 - failed / FUTURES
    return Verdict(
        plan=plan,
        success=share * satisfies,
        low=0.0,
        high=1.0,
        satisfies=satisfies,
        carried_out=share,
        steps=None,
        failing_step=at,
        failing_share=failed / FUTURES,
        disagreement=0.0,
        reasons="",
        futures=FUTURES,
    )
