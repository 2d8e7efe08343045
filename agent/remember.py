"""What is kept of a goal: the episode in the store, and a bounded number of gradient steps. Knows no language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gedanken.agent.events import Learned, Outcome, Stored
from gedanken.agent.mind import Mind
from gedanken.worldmodel.checkpoint import Trained, TrainedDynamics
from gedanken.worldmodel.experience import ExperienceStore

LOOK_BACK = 5
"""Episodes in which a resumed run looks for its own before it stores it again."""


def store(mind: Mind, outcome: Outcome, foretold: Sequence[Mapping[str, Any]] = ()) -> Stored | None:
    """Append what happened since the goal was given; None where nothing happened or there is no store.

    `foretold` says of every plan that was carried out what was expected, and whether it happened.
    A resumed run that was cut off after storing finds its episode and stores it no second time.
    """
    session = mind.session
    if mind.store is None or not session.spent:
        return None
    turn = f"{session.conversation.id}-{session.turn}" if session.conversation else None
    if turn and mind.cut_off is not None:
        for id, episode in mind.store.recent(LOOK_BACK):
            if episode.record.get("turn") == turn and len(episode) == session.spent:
                return Stored(episode=id, steps=session.spent)
    said = outcome.model_dump(mode="json", include={"status", "message", "predicted", "steps", "reward", "replans"})
    record = {
        "turn": turn,
        "plan": outcome.plan,
        "verdict": outcome.verdict.model_dump(mode="json", exclude={"plan"}) if outcome.verdict else None,
        "outcome": {**said, "success": outcome.success},
        "foretold": [dict(pair) for pair in foretold],
        "llm": mind.llm.name,
        "checkpoint": mind.trained.name,
        "config": mind.config.model_dump(mode="json"),
    }
    episode = session.episode(outcome.goal, record)
    return Stored(episode=mind.store.append(episode), steps=session.spent)


def learn(
    trained: Trained | TrainedDynamics, store: ExperienceStore | None, *, steps: int, seed: int
) -> Learned | None:
    """Take so many gradient steps on what is stored; None where there is no store or none are to be taken."""
    if store is None or steps == 0:
        return None
    from gedanken.worldmodel.fit import learn_more
    from gedanken.worldmodel.learn import learn as learn_from

    if isinstance(trained, TrainedDynamics):
        report = learn_more(trained, store, steps=steps, seed=seed)
    else:
        report = learn_from(trained, store, steps=steps, seed=seed)
    return Learned(
        steps=report.steps,
        before=report.losses_before,
        after=report.losses_after,
        checkpoint=str(report.checkpoint) if report.checkpoint else None,
        seconds=report.seconds,
    )
