"""What a run does with an agent in one environment: plan, act, rehearse, suppose or simulate. Knows no protocol."""

from __future__ import annotations

import contextlib
import copy
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch

from gedanken.agent import deliberate, loading, whatif
from gedanken.agent.agent import Agent
from gedanken.agent.config import LoopConfig
from gedanken.agent.dreaming import Dreaming
from gedanken.agent.events import Event, GoalReceived, Learned, Outcome, Practising, Rehearsed, Stored
from gedanken.agent.goals import GoalError, abilities, check_goal
from gedanken.agent.grounding import ground, ground_event, reading
from gedanken.agent.llm.protocol import LLMError
from gedanken.agent.mind import Stopped, view_of
from gedanken.agent.session import Session, SessionError
from gedanken.agent.situations import first_beliefs
from gedanken.tools.answers import (
    ActionFutures,
    Answer,
    Dream,
    Judgement,
    Judgements,
    Place,
    Result,
    Simulation,
    WhatIf,
    Worlds,
)
from gedanken.tools.dreams import Dreams, Unclear, told
from gedanken.tools.futures import endings, frames, plan_futures
from gedanken.tools.refusals import Refused
from gedanken.tools.requests import (
    ActRequest,
    GenerateRequest,
    LiveIn,
    PlanRequest,
    RehearseRequest,
    Request,
    SimulateRequest,
    State,
    WhatIfRequest,
)
from gedanken.tools.run import Run
from gedanken.tools.starts import first
from gedanken.tools.together import SharedModel, shared
from gedanken.worldmodel.actor import Actor
from gedanken.worldmodel.checkpoint import CheckpointError, Trained
from gedanken.worldmodel.experience_file import StoreError
from gedanken.worldmodel.imagined import ImaginedEnv
from gedanken.worldmodel.protocol import Belief
from gedanken.worldmodel.rehearse import Rehearsal
from gedanken.worlds.babyai import BabyAIWorld, level_ids
from gedanken.worlds.protocol import World
from gedanken.worlds.spec import Plan, SpecError

KNOWN = (CheckpointError, GoalError, LLMError, SessionError, SpecError, StoreError)
"""Errors whose message is made for people."""

NO_STOP = (GoalReceived, Outcome, Stored, Learned)
"""Events at which a run isn't ended: there it has not begun, or its end is being told."""


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """Turn errors that are made for people into Refused."""
    try:
        yield
    except KNOWN as error:
        raise Refused(str(error)) from error


@contextlib.contextmanager
def open_workshop(world: str, config: LoopConfig, *, seed: int) -> Iterator[Workshop]:
    """Load an agent and begin its life in a world. Raises Refused."""
    with plainly(), loading.open_agent(world, config) as agent:
        session = agent.session(seed)
        try:
            yield Workshop(agent, session)
        finally:
            session.close()


def _heeding(run: Run) -> Callable[[torch.Tensor], None]:
    """Return what watches futures and leaves them when the run is to end."""

    def watch(_: torch.Tensor) -> None:
        if run.stopping:
            raise Stopped

    return watch


class Workshop:
    """An agent and its one session; several threads may imagine at once, one alone may act."""

    def __init__(self, agent: Agent, session: Session) -> None:
        self.drawing = threading.Lock()  # torch has one stream of random numbers for all threads
        self._alone = copy.copy(agent)  # for what must not depend on who else asks
        agent.llm, agent.trained = SharedModel(agent.llm), shared(agent.trained, self.drawing)
        self.agent, self.session, self.dreams = agent, session, Dreams()
        self._spec = agent.world.spec

    def about(self) -> Worlds:
        """Describe the environment as it is known now."""
        spec, world = self._spec, self.agent.world
        here = Place(
            id=world.id,
            seed=self.session.seed,
            sees=self.session.scene(),
            skills=abilities(spec),
            words={attribute.name: list(attribute.values) for attribute in spec.attributes},
            actions=list(spec.action_names),
            grammar=spec.grammar(),
        )
        return Worlds(here=here, worlds=list(level_ids()))

    def check(self, request: Request) -> None:
        """Raise Refused for a goal, a plan or an action that this world doesn't know."""
        with plainly():
            if isinstance(request, WhatIfRequest):
                _ = self._spec.vector  # a grid has no inputs
                self._plans([request.plan])
            if isinstance(request, PlanRequest | ActRequest | RehearseRequest):
                check_goal(request.goal)
            if isinstance(request, SimulateRequest | RehearseRequest):
                self._plans(request.plans)
            if isinstance(request, SimulateRequest | LiveIn):
                self._codes(request.actions)
            if isinstance(request, SimulateRequest):
                if request.initial_state is not None:
                    first(self._spec, request.initial_state, self.session.view)
                if request.intervention is not None:
                    _ = self._spec.vector
            if isinstance(request, GenerateRequest):
                self._start(request.world)
                check_goal(request.prompt)
                if request.interactive:
                    self.dreams.check_room()
            if isinstance(request, LiveIn):
                self._lived_in(request.dream_id)
                if request.event is not None:
                    ground_event(self._spec, request.event)

    def do(self, request: Request, run: Run) -> Result | None:
        """Do what is asked; None where it was ended before there was a result."""
        with plainly(), contextlib.suppress(Stopped):
            match request:
                case PlanRequest():
                    return self._pursue(request.goal, run, execute=False)
                case ActRequest():
                    return self._pursue(request.goal, run, execute=True)
                case RehearseRequest():
                    return self._rehearse(request, run)
                case WhatIfRequest():
                    return self._what_if(request, run)
                case SimulateRequest(plans=[]):
                    return self._simulate_actions(request, run)
                case SimulateRequest():
                    return self._simulate_plans(request, run)
                case GenerateRequest():
                    return self._generate(request)
                case LiveIn():
                    return self._live(request, run)
        return None

    def dream(self, id: str) -> Dream:
        """Return a dream as it is now. Raises UnknownDream."""
        return told(id, self.dreams.find(id))

    def wake_from(self, id: str) -> Dream:
        """End a dream. Raises UnknownDream."""
        return told(None, self.dreams.end(id))

    # ---- goals -------------------------------------------------------------------------------------------------------

    def _pursue(self, goal: str, run: Run, *, execute: bool) -> Answer | None:
        def emit(event: Event) -> None:
            run.hear(event)
            if run.stopping and not isinstance(event, NO_STOP):
                raise Stopped

        work = self.agent.run if execute else self.agent.plan
        with contextlib.suppress(Stopped):
            work(goal, self.session, on_event=emit)
        return Answer.of(run.events())

    def _rehearse(self, request: RehearseRequest, run: Run) -> Judgements:
        config = self.agent.config
        actor = self.agent.trained.actor
        rehearsal = self._imagine(actor, request.plans, run, config.samples, config.horizon, config.seed)
        goal = check_goal(request.goal)
        judged = deliberate.judge(self.agent.critic, goal, rehearsal, self.agent.world.describe, 1)
        run.hear(judged)
        return Judgements(goal=goal, judged=[Judgement.of(v) for v in judged.verdicts], futures=config.samples)

    def _what_if(self, request: WhatIfRequest, run: Run) -> WhatIf:
        now, seed = whatif.inputs_now(self.session), self.agent.config.seed
        taken, supposed = whatif.understand(self._spec, self.agent.llm, request.change, now, seed)
        [plan] = self._plans([request.plan])
        self._prepare(self.agent.trained.actor, [plan], run)
        with self.drawing:
            compared = whatif.compare(self._alone, self.session, plan, supposed, watch=_heeding(run))
        return WhatIf(taken=taken, compared=compared)

    # ---- futures -----------------------------------------------------------------------------------------------------

    def _begun(self, state: State | None) -> Belief:
        """Return what is believed now, or of a state, as a goal begins: places ("behind you") speak of that pose."""
        if state is not None:
            return first_beliefs(self.agent.trained.model, [first(self._spec, state, self.session.view)])
        self.session.imagine_goal()
        return self.session.belief

    def _imagine(
        self,
        actor: Actor,
        plans: Sequence[str],
        run: Run,
        samples: int,
        horizon: int,
        seed: int,
        state: State | None = None,
        inputs: Mapping[str, float] | None = None,
    ) -> Rehearsal:
        """Rehearse plans, from here or from a state, with other `inputs` where they are given."""
        read = self._plans(plans)
        self._prepare(actor, read, run)
        began = time.perf_counter()
        rehearsal = actor.rehearse(
            self._begun(state),
            read,
            [0] * len(plans),
            samples=samples,
            horizon=horizon,
            standstill=self.agent.config.standstill,
            seed=seed,
            inputs=inputs,
            watch=_heeding(run),
        )
        event = Rehearsed(
            round=1,
            plans=list(plans),
            futures=samples,
            actions=int(rehearsal.length.sum()),
            seconds=time.perf_counter() - began,
            views=frames(rehearsal, 0),
        )
        run.hear(event)
        return rehearsal

    def _prepare(self, actor: Actor, plans: Sequence[Plan], run: Run) -> None:
        """Practise what has to be practised; who asked hears of it, and may end it between two steps."""
        for step in actor.prepare(plans):
            run.hear(Practising(round=1, step=step))
            if run.stopping:
                raise Stopped

    def _simulate_plans(self, request: SimulateRequest, run: Run) -> Simulation:
        self._prepare(self.agent.trained.actor, self._plans(request.plans), run)
        actor, state = self._alone.trained.actor, request.initial_state
        taken, inputs = self._supposed(request)
        with self.drawing:
            rehearsal = self._imagine(
                actor, request.plans, run, request.samples, request.horizon, request.seed, state, inputs
            )
        plans = [plan_futures(rehearsal, index, self.agent.world) for index in range(len(rehearsal.plans))]
        return Simulation(futures=request.samples, taken=taken, plans=plans)

    def _supposed(self, request: SimulateRequest) -> tuple[str | None, dict[str, float] | None]:
        """Return what an intervention is taken to mean, and the inputs under it."""
        if request.intervention is None:
            return None, None
        now = whatif.inputs_now(self.session)
        if isinstance(request.initial_state, dict):
            now = {name: request.initial_state.get(name, value) for name, value in now.items()}
        taken, supposed = whatif.understand(self._spec, self.agent.llm, request.intervention, now, request.seed)
        return taken, {one.name: one.then for one in supposed}

    @torch.no_grad()
    def _simulate_actions(self, request: SimulateRequest, run: Run) -> Simulation | None:
        trained, samples = self.agent.trained, request.samples
        if not isinstance(trained, Trained):
            raise SpecError(f"in {self.agent.world.id} plans can be simulated, and no actions: write `plans`")
        model, codes = trained.model, self._codes(request.actions)
        device = next(trained.controller.parameters()).device
        nothing = torch.full((samples, 1, len(self._spec.step_sizes)), -1, device=device)
        with self.drawing, torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(request.seed)
            belief = model.suppose(self._begun(request.initial_state).repeat(samples), nothing)
            now = model.readout(belief)
            views, reward, continues, doubt = [now.observation[0]], [], [], []
            for code in codes:
                if run.stopping:
                    return None
                action = torch.full((samples,), code, device=device)
                doubt.append(float(model.disagreement(belief, action).mean()))
                belief = model.imagine(belief, action)
                now = model.readout(belief)
                views.append(now.observation[0])
                reward.append(float(now.reward.mean()))
                continues.append(float(now.continues.mean()))
        futures = ActionFutures(
            actions=request.actions,
            reward=reward,
            continues=continues,
            disagreement=doubt,
            ends=endings(now.observation, self.agent.world),
            views=[view_of(view) for view in views],
        )
        return Simulation(futures=samples, actions=futures)

    # ---- dreams ------------------------------------------------------------------------------------------------------

    def _generate(self, request: GenerateRequest) -> Dream:
        """Begin a dream; all it does not take from the first view is drawn by the agent's own model."""
        trained, start = self._alone.trained, self._start(request.world)
        assert isinstance(trained, Trained)  # its world shows a grid
        seed = self.session.seed if request.start_seed is None else request.start_seed
        try:
            there = ground(start.spec, request.prompt, reading(start, lambda: self.agent.llm))
        except GoalError as error:
            raise Unclear(str(error)) from error
        with self.drawing:
            dreaming = Dreaming(ImaginedEnv(trained, start, start_seed=seed, there=there), request.seed)
        return told(self.dreams.keep(dreaming) if request.interactive else None, dreaming)

    def _live(self, request: LiveIn, run: Run) -> Dream:
        with self.drawing:
            dreaming = self._lived_in(request.dream_id)
            moments = [] if request.event is None else [dreaming.happen(request.event)]
            for action in request.actions:
                if run.stopping or dreaming.now.over:
                    break
                moments.append(dreaming.act(action))
        return told(request.dream_id, dreaming, moments)

    def _start(self, id: str | None) -> World:
        """Return the world that a dream begins in. Raises SpecError for one that this model does not dream of."""
        here = self.agent.world
        _ = self._spec.grid  # numbers are not dreamed of
        start = here if id in (None, here.id) else BabyAIWorld(id) if id in level_ids() else None
        if start is None or start.spec != self._spec:
            raise SpecError(f"a dream can't begin in {id!r} here; choose one of `worlds` that is like {here.id}")
        return start

    def _lived_in(self, id: str) -> Dreaming:
        """Return a dream that is not over. Raises UnknownDream, and SpecError for one that is."""
        dreaming = self.dreams.find(id)
        if dreaming.now.over:
            raise SpecError("this dream is over: begin another with generate")
        return dreaming

    # ---- words -------------------------------------------------------------------------------------------------------

    def _plans(self, texts: Sequence[str]) -> list[Plan]:
        return [self._spec.parse_plan(text) for text in texts]

    def _codes(self, actions: Sequence[str]) -> list[int]:
        known = self._spec.action_names
        unknown = sorted(set(actions) - set(known))
        if unknown:
            raise SpecError(f"no action {unknown[0][:40]!r} here; there are {', '.join(known)}")
        return [known.index(action) for action in actions]
