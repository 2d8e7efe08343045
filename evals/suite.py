"""What a suite is: samples measured one by one, and what they come to. Knows no particular suite and no terminal."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, cast

from gedanken.agent.config import LoopConfig
from gedanken.agent.llm.protocol import LanguageModel
from gedanken.agent.mind import Judge
from gedanken.evals.errors import EvalError
from gedanken.evals.measures import Measure
from gedanken.evals.run_folder import Key
from gedanken.evals.together import Together
from gedanken.worldmodel.checkpoint import Trained
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED
from gedanken.worlds.protocol import DemonstratedWorld

SEEDS_PER_RUN = 100_000

EPOCH_SEEDS = 1_000
"""How far the agent's seeds of two epochs are apart: further than the rounds of one episode reach."""


def evaluation_seeds(seed: int, limit: int) -> range:
    """Return the environments' seeds of an evaluation, `seed` · 100 000 and on.

    Raises EvalError unless all of them lie below the training seeds: what is measured must never have been trained on.
    """
    if not 1 <= limit <= SEEDS_PER_RUN:
        raise EvalError(f"{limit} samples a task; choose 1 to {SEEDS_PER_RUN:,}")
    seeds = range(seed * SEEDS_PER_RUN, seed * SEEDS_PER_RUN + limit)
    if seed < 0 or seeds.stop > FIRST_TRAINING_SEED:
        most = FIRST_TRAINING_SEED // SEEDS_PER_RUN - 1
        raise EvalError(f"evaluation seed {seed} would reach into the training seeds; choose 0 to {most}")
    return seeds


def chunks(seeds: range, size: int) -> list[range]:
    """Cut seeds into parts that are measured together; they are the same when a run goes on, and so are the draws."""
    return [seeds[start : start + size] for start in range(0, len(seeds), size)]


@dataclass
class Parts:
    """What is measured: worlds, a checkpoint, and a language model and a critic, loaded when first asked for.

    At most `max_samples` samples are under way at once; None leaves it to whoever measures.
    """

    make_world: Callable[[str], DemonstratedWorld]
    trained: Trained
    config: LoopConfig = field(default_factory=LoopConfig)
    load_llm: Callable[[], LanguageModel] | None = None
    load_critic: Callable[[LanguageModel], Judge] | None = None
    max_samples: int | None = None

    @cached_property
    def llm(self) -> LanguageModel:
        """The language model. Raises EvalError where there is none."""
        if self.load_llm is None:
            raise EvalError("this needs a language model, and none was given")
        return self.load_llm()

    @cached_property
    def together(self) -> Together:
        """The language model with one memory for the whole run, see `Together`."""
        return Together(self.llm, self.max_samples)

    @cached_property
    def critic(self) -> Judge:
        """The critic. Raises EvalError where there is none."""
        if self.load_critic is None:
            raise EvalError("this needs a critic, and none was given")
        return self.load_critic(self.llm)

    def in_epoch(self, epoch: int) -> Parts:
        """Return the same parts with other draws of the agent's; epoch 1 has the config's own seed."""
        if epoch == 1:
            return self
        config = self.config.model_copy(update={"seed": self.config.seed + EPOCH_SEEDS * (epoch - 1)})
        load_llm = (lambda: self.llm) if self.load_llm else None
        load_critic = (lambda _: self.critic) if self.load_critic else None
        return replace(self, config=config, load_llm=load_llm, load_critic=load_critic)


@dataclass(frozen=True)
class Options:
    """What was asked for: samples a task, the evaluation's seed, the arms, how often each sample is done."""

    limit: int
    seed: int
    arms: tuple[str, ...]
    epochs: int = 1


@dataclass(frozen=True)
class Table:
    """A table for people: cells are text already."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


class Suite(Protocol):
    """One thing that is measured.

    Besides what follows a suite may have: `make_world(task)`, where tasks are no worlds, and `worlds`, the world of
    each; `default_arms` and `more_tasks`; `plays(task, arm)`, where not every arm has every task; `failed(task, seed,
    arm)`, the sample that stands for one that raised, which is left out otherwise; `epochs`, true where samples may be
    done several times; `arms_share`, true where arms ask the language model the same; `learning`, how the models are
    learned that arms play with, `weights(options)`, the files of these models, there already or not, and
    `curves(options)`, how they were learned: dictionaries with `task`, `training_seed` and `points`; `extent`,
    what `limit` says where it counts no samples.
    """

    name: str
    default_limit: int
    arms: tuple[str, ...]
    tasks: tuple[str, ...]
    clocks: tuple[str, ...]  # what samples say of seconds, never the same twice
    measures: tuple[Measure, ...]  # what is compared between two runs

    def count(self, options: Options) -> int:
        """Return the number of samples of one epoch."""
        ...

    def measure(self, parts: Parts, options: Options, done: AbstractSet[Key]) -> Iterator[dict[str, Any]]:
        """Yield samples (each with `task`, `seed` and `arm`) that are not among those done."""
        ...

    def summarise(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return what the samples come to: plain data with intervals."""
        ...

    def tables(self, results: Mapping[str, Any]) -> list[Table]:
        """Return the results for people."""
        ...


def extent(suite: Suite, limit: int) -> str:
    """Say how much was measured."""
    return str(getattr(suite, "extent", "n = {} a task")).format(limit)


def keys(suite: Suite, options: Options) -> list[Key]:
    """Return task, seed and arm of every sample; none for a suite that counts its samples otherwise."""
    seeds, plays = evaluation_seeds(options.seed, options.limit), getattr(suite, "plays", lambda *_: True)
    found = [(task, seed, arm) for task in suite.tasks for arm in options.arms if plays(task, arm) for seed in seeds]
    return found if len(found) == suite.count(options) else []


def counted(suite: Suite, samples: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the samples that a suite sums up: those that raised count where it says as what."""
    return [sample for sample in samples if hasattr(suite, "failed") or not sample.get("error")]


def summed(suite: Suite, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what samples come to. Raises EvalError for samples that a suite can't read, perhaps another version's."""
    try:
        return suite.summarise(counted(suite, samples))
    except EvalError:
        raise
    except Exception as error:  # whatever somebody's suite does wrong
        raise EvalError(
            f"{suite.name} can't sum up these samples ({_fault(error)}): they are of another version: run it anew;"
            " or it has a fault: mend that, and --resume sums up what is kept"
        ) from error


def tabled(suite: Suite, results: Mapping[str, Any]) -> list[Table]:
    """Return results for people. Raises EvalError where a suite can't."""
    try:
        return list(suite.tables(results))
    except Exception as error:
        raise EvalError(f"{suite.name} can't show its results ({_fault(error)}); they are kept") from error


def _fault(error: Exception) -> str:
    """Say what went wrong, and in which line."""
    *_, last = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__}: {error}; {Path(last.filename).name}, line {last.lineno}"


def assemble(
    checkpoint: str | Path | None,
    config: LoopConfig,
    make_world: Callable[[str], DemonstratedWorld] | None = None,
    world_id: str = "BabyAI-GoToLocal-v0",
    tasks: Sequence[str] = (),
) -> Parts:
    """Load a checkpoint and say how the rest is loaded. Raises CheckpointError.

    Where none is named it is the one that ships for those of the `tasks` that are worlds, or an added world's latest.
    `make_world` makes worlds of tasks that are none themselves; `world_id` is the world behind one of them.
    """
    from gedanken.agent.llm import load as load_language_model
    from gedanken.agent.loading import load_judge, load_practice, load_trained, load_world
    from gedanken.worlds.babyai import level_ids

    worlds = [task for task in tasks if task in level_ids()]
    world = load_world(worlds[0] if worlds else world_id)
    trained = load_trained(None if checkpoint is None else str(checkpoint), world, *worlds)
    practised = config.practised(trained.card)
    return Parts(
        make_world or load_practice,
        cast(Trained, trained),  # arms that need a controller say so where there is none
        practised,
        load_llm=lambda: load_language_model(config.llm),
        load_critic=lambda llm: load_judge(trained, world, llm, practised),
    )
