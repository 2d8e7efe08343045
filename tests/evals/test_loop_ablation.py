"""The suite `loop-ablation`: each arm has one part more, they share answers, and what does not pay is said."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gedanken.agent.llm.protocol import LanguageModel
from gedanken.agent.llm.scripted import ScriptedModel
from gedanken.evals import figures, loop_ablation
from gedanken.evals.loop_ablation import (
    BUILT,
    LEARNING,
    LEVELS,
    LOCKED,
    OTHER_WORDS,
    SETTING,
    SHIFTED,
    LoopAblation,
    Unjudged,
)
from gedanken.evals.main import load_suite, run_suite
from gedanken.evals.suite import Options, Parts, keys
from gedanken.worlds.protocol import DemonstratedWorld

PUT_NEXT = LEVELS[0]


class Asked(ScriptedModel):
    """A scripted model that remembers which prompts came with a grammar, and writes prose where none came."""

    def __init__(self) -> None:
        super().__init__(lambda prompt: ["go_to(red ball)\n", "go_to(key)\n"])
        self.asked: list[tuple[str, bool, str]] = []

    def complete(self, prompts: Any, *, grammar: str | None, **more: Any) -> Any:
        self.asked += [(prompt, grammar is not None, str(more)) for prompt in prompts]
        if grammar is None:
            return ScriptedModel(lambda prompt: ["Sure! First I go", "go_to(box)\n"]).complete(
                prompts, grammar=None, **more
            )
        return super().complete(prompts, grammar=grammar, **more)


@pytest.fixture
def llm() -> Asked:
    return Asked()


@pytest.fixture
def parts(make_parts: Callable[..., Parts], llm: LanguageModel) -> Parts:
    made = make_parts()
    made.load_llm = lambda: llm
    made.make_world = LoopAblation().make_world
    return made


def test_each_arm_has_one_part_more(parts: Parts, llm: Asked, tmp_path: Path) -> None:
    parts.config = parts.config.model_copy(update={"rounds": 1, "replans": 1})
    unlearned = [arm for arm in BUILT if arm != LEARNING]
    answer = run_suite("loop-ablation", limit=2, tasks=[PUT_NEXT], arms=unlearned, runs=tmp_path, parts=parts)
    suite = load_suite("loop-ablation", [PUT_NEXT])
    from gedanken.evals.run_folder import RunFolder

    samples = {(s["arm"], s["seed"]): s for s in RunFolder.open(tmp_path, answer["run"]).samples()}
    assert len(samples) == 12 and answer["arm"] == "loop"
    first = {arm: samples[arm, 0] for arm in unlearned}
    assert first["llm"]["plan"] == "go_to(box)", "what can't be read is dropped"
    assert first["+grammar"]["plan"] == "go_to(red ball)" == first["+critic"]["first_plan"]
    assert not first["+grammar"]["verdicts"] and len(first["+rehearsal"]["verdicts"]) == 2
    assert all(verdict["satisfies"] is None for verdict in first["+rehearsal"]["verdicts"])
    assert all(verdict["satisfies"] for verdict in first["+critic"]["verdicts"])
    assert (first["+critic"]["rounds"], first["+critic"]["replans"]) == (1, 0)
    assert first["+revision"]["replans"] == 0 and first["+revision"]["rounds"] >= first["+critic"]["rounds"]
    assert len(llm.asked) == len(set(llm.asked)), "no arm asks again what another has asked"
    assert sum(not guided for _, guided, _ in llm.asked) == 2, "one goal, two seeds"
    titles = [table.title for table in suite.tables(answer)]
    assert titles == ["loop-ablation", "what an episode costs", "what each part adds"]


def test_the_last_arm_plays_with_what_was_learned(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    pupil = replace(parts.trained, card={"surprise": 700.0})
    played: list[Any] = []
    monkeypatch.setattr(loop_ablation, "learned", lambda *how: (played.append(how), pupil)[1])
    monkeypatch.setattr(loop_ablation, "loop", lambda *where, **how: (played.append(how), iter(()))[1])
    assert list(BUILT[LEARNING](parts, SHIFTED, [0])) == []
    asked, how = played
    assert asked == (parts, SHIFTED, SETTING, 0, 50, True), "seeds are those of `shift`, see its tests"
    assert how["trained"] is pupil and how["config"].surprise == 700.0, "it says how much surprise is usual"


def test_where_only_learning_can_matter_only_it_is_tried() -> None:
    suite = LoopAblation()
    assert [arm for arm in BUILT if suite.plays(SHIFTED, arm)] == ["loop", LEARNING]
    assert not suite.plays(SHIFTED, "bot"), "it raises there"
    assert not suite.plays(LEVELS[1], LEARNING) and suite.plays(LEVELS[1], "+revision")
    options = Options(3, 0, suite.arms)
    assert suite.count(options) == len(keys(suite, options)) == 3 * (3 * 11 + 6)
    [weights] = suite.weights(options)
    assert weights.parent.name == "shift-BabyAI-GoToLocal-v0-swapped-turns-0-50"
    assert suite.weights(replace(options, arms=("loop",))) == []


def test_what_each_part_adds_and_whether_it_pays() -> None:
    suite = LoopAblation([PUT_NEXT])
    wins = {"llm": 10, "+grammar": 40, "+rehearsal": 38, "+critic": 20, "loop": 20}
    samples = [
        {"task": PUT_NEXT, "seed": seed, "arm": arm, "success": seed < n, "steps": 1, "goal": "g"}
        for arm, n in wins.items()
        for seed in range(60)
    ]
    results = suite.summarise(samples)
    table = suite.tables(results)[-1]
    assert [(row[0], row[2].split()[0], row[3], row[4]) for row in table.rows] == [
        ("the grammar", "+50.0", "60", "yes"),
        ("rehearsal", "-3.3", "60", "not beyond noise"),
        ("the calibrated critic", "-30.0", "60", "no, it costs"),
    ], "without +revision it is not known what that or the last part adds"
    low = results["parts"][0]["low"]
    assert 0.3 < low < 0.36, "wider than one 95 % interval, which would begin at 0.355"


def lived(arms: dict[str, list[bool]], *, tasks: tuple[str, ...], epochs: int = 1) -> list[dict[str, Any]]:
    """Return episodes that end the same in every task; epochs take turns in what is listed for a seed."""
    return [
        {"task": task, "seed": number // epochs, "arm": arm, "success": success, "steps": 1, "goal": "g"}
        | {"epoch": 1 + number % epochs}
        for arm, ends in arms.items()
        for task in tasks
        for number, success in enumerate(ends)
    ]


def test_a_level_in_two_wordings_is_one_scene() -> None:
    twins = (PUT_NEXT, f"{PUT_NEXT}{OTHER_WORDS}")
    arms = {"llm": [False] * 20, "+grammar": [seed % 3 == 0 for seed in range(20)]}
    own, both = (LoopAblation(tasks).summarise(lived(arms, tasks=tasks)) for tasks in (twins[:1], twins))
    assert both["parts"][0] == own["parts"][0] | {"task": None} and both["parts"][0]["n"] == 20, "no more is known"
    assert [row["n"] for row in both["parts"][1:]] == [20, 20]
    assert both["differences"][0]["n"] == 20


def test_few_seeds_stay_few_however_often_they_are_done() -> None:
    arms = {"llm": [False] * 10, "+grammar": [True, False] * 5}
    results = LoopAblation([PUT_NEXT]).summarise(lived(arms, tasks=(PUT_NEXT,), epochs=2))
    [row] = LoopAblation([PUT_NEXT]).tables(results)[-1].rows
    assert row[2:] == ("+50.0 [–, –]", "5", "too few to say")


def test_other_words_are_another_task(parts: Parts) -> None:
    own, other = (LoopAblation().make_world(f"{PUT_NEXT}{more}") for more in ("", OTHER_WORDS))
    missions = [world.mission(world.make().reset(seed=3)[0]) for world in (own, other)]
    assert missions[0] != missions[1] and other.spec.hash == own.spec.hash
    played = list(LoopAblation.players["oracle-plan"](parts, f"{PUT_NEXT}{OTHER_WORDS}", [3]))
    assert played[0].goal == missions[1] and played[0].plan is not None


@pytest.mark.parametrize("level", LOCKED)
def test_levels_of_more_rooms_are_played_where_they_are_named(level: str) -> None:
    suite = LoopAblation()
    assert level in suite.more_tasks and level not in suite.levels
    assert isinstance(suite.make_world(level), DemonstratedWorld)
    assert suite.plays(level, "loop") and not suite.plays(level, LEARNING)


def test_rehearsal_alone_judges_no_meaning(parts: Parts) -> None:
    class Says:
        def judge(self, goal: str, rehearsal: Any, describe: Any = None, readings: Any = ()) -> Any:
            return parts.critic.judge(goal, rehearsal)

    from types import SimpleNamespace

    plan = parts.make_world(PUT_NEXT).spec.parse_plan("go_to(ball)")
    rehearsal: Any = SimpleNamespace(plans=[plan], success=torch.tensor([[True, True, False, False]]))
    (verdict,) = Unjudged(Says()).judge("pick up the key", rehearsal)
    assert (verdict.success, verdict.satisfies) == (0.5, None)


def test_the_chart_of_all_levels_leaves_out_who_does_not_play_them_all() -> None:
    samples = [
        {"task": task, "seed": 0, "arm": arm, "success": True, "steps": 1, "goal": "g"}
        for task, arm in ((LEVELS[1], "loop"), (SHIFTED, "loop"), (SHIFTED, LEARNING))
    ]
    suite = LoopAblation()
    together = next(figures._success(suite.summarise(samples)))
    assert ">loop<" in together.chart and f">{LEARNING}<" not in together.chart
