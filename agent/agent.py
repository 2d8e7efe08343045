"""The agent as one object: give it a goal and a session, read its events, get the outcome. Knows no terminal."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any, Literal

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver

from gedanken.agent import nodes, remember
from gedanken.agent.config import LoopConfig
from gedanken.agent.events import Event, GoalReceived, Learned, Outcome, Resumed
from gedanken.agent.goals import check_goal, heard
from gedanken.agent.graph import MOST_STEPS, build
from gedanken.agent.journal import Conversation, Journal
from gedanken.agent.llm.protocol import LanguageModel
from gedanken.agent.mind import Approver, Judge, Mind, Sink, Stopped
from gedanken.agent.session import Session, spell
from gedanken.agent.state import State, fresh
from gedanken.worldmodel.checkpoint import Trained, TrainedDynamics
from gedanken.worldmodel.experience import ExperienceStore
from gedanken.worlds.protocol import World
from gedanken.worlds.spec import Plan, SpecError


def _ignore(event: Event) -> None:
    """Drop an event."""


class Agent:
    """Reaches goals in a world: proposes, rehearses, judges, revises, acts and learns.

    With a `journal` and a `saver` every run is durable; without a `store` nothing is kept or learnt.
    """

    def __init__(
        self,
        world: World,
        *,
        llm: LanguageModel,
        trained: Trained | TrainedDynamics,
        critic: Judge,
        store: ExperienceStore | None = None,
        config: LoopConfig | None = None,
        journal: Journal | None = None,
        saver: BaseCheckpointSaver[Any] | None = None,
    ) -> None:
        self.world, self.llm, self.trained, self.critic, self.store = world, llm, trained, critic, store
        self.config = (config or LoopConfig.preset()).practised(trained.card)
        self.journal, self._saver = journal, saver
        self._graph, self._durable = build(saver), saver is not None

    def session(self, seed: int = 0, *, free: bool = True) -> Session:
        """Begin a life in the world; `free` is for a person's goals, otherwise the environment's own mission holds."""
        return Session.begin(self.world, self.trained, seed, free=free, journal=self.journal)

    def elsewhere(self, world: World) -> Agent:
        """Return the same agent in another world. Raises SpecError where its world model does not fit there."""
        if world.spec.hash != self.world.spec.hash:
            raise SpecError(
                f"{self.trained.name} knows worlds like {self.world.id}, and {world.id} is of another kind: begin there"
                f" with --world {world.id}"
            )
        return Agent(
            world,
            llm=self.llm,
            trained=self.trained,
            critic=self.critic,
            store=self.store,
            config=self.config,
            journal=self.journal,
            saver=self._saver,
        )

    def run(
        self,
        goal: str,
        session: Session,
        *,
        on_event: Sink = _ignore,
        approve: Approver | None = None,
        given: Plan | None = None,
    ) -> Outcome:
        """Reach a goal; events come while it happens, the outcome at the end.

        A plan that is `given` is rehearsed and taken as it is, the language model is asked only when it fails on the
        way. Raises GoalError for a goal that is none, LLMError, StoreError, CheckpointError and SessionError. On Ctrl-C
        (KeyboardInterrupt) what happened so far is stored first.
        """
        return self._begin(goal, session, on_event, approve, execute=True, given=given)

    def plan(self, goal: str, session: Session, *, on_event: Sink = _ignore, given: Plan | None = None) -> Outcome:
        """Imagine only: propose, rehearse, judge and choose; nothing is done and nothing stored. Raises as `run`."""
        return self._begin(goal, session, on_event, None, execute=False, given=given)

    def learn(self, steps: int | None = None) -> Learned | None:
        """Take gradient steps on what is stored, into a new checkpoint; None where none are to be taken.

        Without `steps` as many as after an episode. Raises TrainingError and CheckpointError.
        """
        taken = self.config.learn_steps if steps is None else steps
        return remember.learn(self.trained, self.store, steps=taken, seed=self.config.seed)

    def events(
        self, goal: str, session: Session, *, approve: Approver | None = None, execute: bool = True
    ) -> Iterator[Event]:
        """Yield the events of `run` as they happen, from a thread of its own; closing the iterator ends the run."""
        line: queue.Queue[Event | BaseException | None] = queue.Queue()
        stop = threading.Event()

        def work() -> None:
            try:
                self._begin(goal, session, line.put, approve, execute=execute, stop=stop)
                line.put(None)
            except Stopped:
                line.put(None)
            except BaseException as error:  # handed to the reader, who raises it
                line.put(error)

        thread = threading.Thread(target=work, name="gedanken-run", daemon=True)
        thread.start()
        try:
            while (item := line.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stop.set()
            thread.join()

    def unfinished(self) -> tuple[Conversation, str] | None:
        """Return the last conversation and its open goal, if a run was cut off in it."""
        conversation = self.journal.last() if self.journal else None
        if conversation is None or self.journal is None:
            return None
        turns = self.journal.turns(conversation.id)
        return (conversation, turns[-1].goal) if turns and turns[-1].outcome is None else None

    def resume(
        self, goal: str, session: Session, *, on_event: Sink = _ignore, approve: Approver | None = None
    ) -> Outcome:
        """Go on with a goal that was cut off, in a session rebuilt by `Session.replay`. Raises as `run`.

        One that was over, and only not noted as such, is not pursued a second time.
        """
        mind = self._mind(session, on_event, approve)
        thread = self._thread(session)
        snapshot = self._graph.get_state({"configurable": {"thread_id": thread}}) if self._durable else None
        tasks = snapshot.tasks if snapshot else ()  # `next` leaves out one that is done, whose result was just kept
        mind.cut_off = snapshot.next[0] if snapshot and snapshot.next else None
        on_event(self._resumed(goal, session))
        if snapshot and snapshot.values and not tasks:
            outcome = Outcome.model_validate(snapshot.values["outcome"])
            on_event(outcome)
            self._close_turn(mind, outcome)
            return outcome
        going = tasks and tasks[0].name != "__start__"
        state = None if going else fresh(goal, execute=True, began=time.time())
        return self._invoke(goal, mind, state, thread)

    # ---- within ----------------------------------------------------------------------------------------------------

    def _begin(
        self,
        goal: str,
        session: Session,
        on_event: Sink,
        approve: Approver | None,
        *,
        execute: bool,
        stop: threading.Event | None = None,
        given: Plan | None = None,
    ) -> Outcome:
        goal = check_goal(goal)
        heard(self.world, goal)  # raises, before anything is in the journal, for what can't be said to this world
        mind = self._mind(session, on_event, approve)
        if stop:
            mind.stop = stop
        if execute:
            session.begin_goal(goal)
        else:
            session.imagine_goal()
        own = not session.free and goal == session.mission
        on_event(GoalReceived(goal=goal, world=self.world.id, seed=session.seed, own=own))
        state = fresh(goal, execute=execute, began=time.time(), given=str(given) if given else None)
        return self._invoke(goal, mind, state, self._thread(session) if execute else f"imagined-{time.time_ns()}")

    def _invoke(self, goal: str, mind: Mind, state: State | None, thread: str) -> Outcome:
        config: RunnableConfig = {"configurable": {"thread_id": thread}, "recursion_limit": MOST_STEPS}
        durability: Literal["sync"] | None = "sync" if self._durable else None
        try:
            final = self._graph.invoke(state, config, context=mind, durability=durability)
        except (KeyboardInterrupt, Stopped):
            self._interrupted(goal, mind)
            raise
        except Exception:
            if mind.ended:  # and stored: only learning from it failed
                self._close_turn(mind, mind.ended)
            raise
        outcome = Outcome.model_validate(final["outcome"])
        self._close_turn(mind, outcome)
        return outcome

    def _interrupted(self, goal: str, mind: Mind) -> None:
        outcome = mind.ended
        if outcome is None:
            outcome = nodes.interrupted(goal, mind)
            mind.emit(outcome)
            foretold = mind.doing.get("foretold", []) if mind.doing else []
            if stored := remember.store(mind, outcome, foretold):
                outcome = outcome.model_copy(update={"episode": stored.episode})
                mind.emit(stored)
        self._close_turn(mind, outcome)

    def _close_turn(self, mind: Mind, outcome: Outcome) -> None:
        session = mind.session
        if session.journal and session.turn is not None and outcome.status != "imagined":
            session.journal.end_turn(session.turn, outcome.model_dump(mode="json"))
            session.turn = None

    def _mind(self, session: Session, on_event: Sink, approve: Approver | None) -> Mind:
        return Mind(
            world=self.world,
            llm=self.llm,
            trained=self.trained,
            critic=self.critic,
            session=session,
            config=self.config,
            store=self.store,
            emit=on_event,
            approve=approve,
        )

    def _thread(self, session: Session) -> str:
        if session.conversation is None:
            return f"run-{time.time_ns()}"
        return f"{session.conversation.id}-{session.turn}"

    def _resumed(self, goal: str, session: Session) -> Resumed:
        recorded = session.journal.actions(session.conversation.id) if session.journal and session.conversation else []
        last = recorded[-1] if recorded and not recorded[-1].done else None
        name = spell(self.world.spec, last.action) if last else None
        message = f"{session.spent} actions of this goal were replayed from the journal"
        if name:
            message += (
                f"; the next, {name!r}, had been intended but never confirmed: whether it was carried out is not known,"
                " it is not repeated blindly"
            )
        return Resumed(goal=goal, actions=session.spent, unknown=name, message=message)
