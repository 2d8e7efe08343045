"""A suite of one's own as a TOML file: tasks with goals in words and scorers, played by the arms there are."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gedanken.evals.arms import ARMS, REPLAN, llm_replan
from gedanken.evals.episodes import EpisodeSuite
from gedanken.evals.errors import EvalError, meant
from gedanken.evals.task_world import Scorer, TaskWorld
from gedanken.worlds.protocol import WorldError
from gedanken.worlds.spec import SpecError

PLAYERS = {**ARMS, REPLAN: llm_replan}


class TaskTable(BaseModel):
    """One `[[tasks]]` table.

    Attributes:
        world: a world that `gedanken worlds` lists.
        name: what the task is called; the world's id where nothing is said.
        goal: the goal in words; the world's own mission where nothing is said.
        words: whether the world's own mission is said in its own words, or in others that no planner was trained on.
        scorer: what counts as success: the world's reward, `steps` achieved in their order, or a `condition` met once.
        steps: a right plan, one step an entry; the arms oracle-plan and bot carry it out, too.
        condition: over `total_reward`, `actions` and the numbers that the world shows.
        max_actions: the task fails after so many; 200 where the scorer is not the reward.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    world: str = Field(min_length=1, max_length=200)
    name: str = Field(default="", max_length=80)
    goal: str | None = Field(default=None, min_length=1, max_length=2000)
    words: Literal["own", "test"] = "own"
    scorer: Scorer = "reward"
    steps: tuple[str, ...] = ()
    condition: str = Field(default="", max_length=300)
    max_actions: int | None = Field(default=None, ge=1, le=100_000)

    @property
    def called(self) -> str:
        """Return what the task is called."""
        return self.name or self.world


class SuiteTable(BaseModel):
    """A suite's file.

    Attributes:
        name: what the suite is called; the file's name where nothing is said.
        limit: samples a task where the command says nothing.
        arms: who plays where the command says nothing, the one in question first.
        tasks: the tasks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="", pattern=r"^([A-Za-z0-9][\w-]{0,59})?$")
    limit: int = Field(default=50, ge=1, le=100_000)
    arms: tuple[str, ...] = Field(default=("loop", "llm-alone", "random"), min_length=1)
    tasks: tuple[TaskTable, ...] = Field(min_length=1)


class FileSuite(EpisodeSuite):
    """The suite that a file describes, see `SuiteTable`; `worlds` says in which world each task is."""

    players = PLAYERS

    def __init__(self, table: SuiteTable, tasks: Sequence[str] | None = None) -> None:
        self.table = table
        self.name, self.default_limit, self.default_arms = table.name, table.limit, table.arms
        self.levels = tuple(task.called for task in table.tasks)
        self.worlds: Mapping[str, str] = {task.called: task.world for task in table.tasks}
        super().__init__(tasks)

    def make_world(self, task: str) -> TaskWorld:
        """Return a task's world. Raises EvalError for a task that its world can't be asked for."""
        from gedanken.agent.loading import load_world

        wanted = next(table for table in self.table.tasks if table.called == task)
        try:
            world = load_world(wanted.world)
        except (SpecError, WorldError) as error:
            raise EvalError(f"task {task}: {error}") from error
        return TaskWorld(
            world,
            task,
            goal=wanted.goal,
            words=wanted.words,
            scorer=wanted.scorer,
            steps="\n".join(wanted.steps),
            condition=wanted.condition,
            max_actions=wanted.max_actions,
        )

    def check(self) -> None:
        """Raise EvalError for what can't be measured, before anything is."""
        if twice := sorted({task for task in self.levels if self.levels.count(task) > 1}):
            raise EvalError(f"two tasks are called {twice[0]!r}; give each a name of its own")
        if unknown := [arm for arm in self.default_arms if arm not in self.players]:
            raise EvalError(
                f"no arm {unknown[0]!r}{meant(unknown[0], self.players)}; there are {', '.join(self.players)}"
            )
        worlds = [self.make_world(task) for task in self.levels]
        if others := [world for world in worlds if world.spec.hash != worlds[0].spec.hash]:
            raise EvalError(
                f"{worlds[0].world.id} and {others[0].world.id} are worlds of two kinds, and a run measures one"
                " checkpoint; write a suite for each"
            )


def read_suite(path: Path) -> functools.partial[FileSuite]:
    """Return how to make a file's suite for some of its tasks. Raises EvalError that names the key that is wrong."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        table = SuiteTable.model_validate(data)
    except OSError as error:
        raise EvalError(f"{path}: {error.strerror}; name a suite, or a file that describes one") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise EvalError(f"{path} is no TOML: {error}") from error
    except ValidationError as error:
        raise EvalError(f"{path}: {_said(error)}") from error
    if not table.name:
        name = "".join(letter if letter.isalnum() else "-" for letter in path.stem).strip("-")
        table = table.model_copy(update={"name": name or "suite"})
    make = functools.partial(FileSuite, table)
    try:
        make().check()
    except EvalError as error:
        raise EvalError(f"{path}: {error}") from error
    return make


def _said(error: ValidationError) -> str:
    """Say the first thing that is wrong, typos before what they leave out: where, what, and what was probably meant."""
    first = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    *inside, key = first["loc"]
    where = "".join(f"{part + 1}: " if isinstance(part, int) else f"{part.removesuffix('s')} " for part in inside)
    if first["type"] == "extra_forbidden":
        known: Any = TaskTable if inside else SuiteTable
        return f"{where}no key `{key}`{meant(str(key), known.model_fields)}; there are {', '.join(known.model_fields)}"
    if first["type"] == "missing":
        return f"{where}`{key}` is missing"
    return f"{where}`{key}`: {first['msg'].lower()}, not {first['input']!r:.80}"
