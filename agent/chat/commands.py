"""The chat's commands: functions whose docstrings are their help, in one registry. Knows no terminal."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gedanken.agent import whatif as supposing
from gedanken.agent.chat import vocabulary, words
from gedanken.agent.goals import abilities, listed
from gedanken.agent.telling.draw import draw_known
from gedanken.agent.telling.story import verdicts
from gedanken.agent.telling.window import waiting
from gedanken.worldmodel import checkpoint
from gedanken.worlds.spec import MAX_STEPS, Plan, SpecError, WorldSpec

if TYPE_CHECKING:
    from gedanken.agent.chat.conversation import Chat

MOST_LEARNING = 10_000
"""Gradient steps that can be asked for at once."""

LARGEST_SEED = (1 << 30) - 1
"""Those above it are for training."""


class Quit(Exception):
    """The person has had enough."""


Offers = Callable[["Chat"], Sequence[str]]
Run = Callable[["Chat", str], None]


@dataclass(frozen=True)
class Command:
    """A command; `offers` are completions of all that follows its name, `words` of the last word."""

    name: str
    usage: str
    help: str
    run: Run
    offers: Offers
    words: Offers


COMMANDS: dict[str, Command] = {}
"""By name, in the order in which /help lists them."""


def goal_words(chat: Chat) -> list[str]:
    """Return what goals speak of: the things known to be there first."""
    spec = chat.agent.world.spec
    return [*vocabulary.things(spec, chat.session.known()[0]), *vocabulary.values(spec)]


def _plan_words(chat: Chat) -> list[str]:
    return [*vocabulary.calls(chat.agent.world.spec), *goal_words(chat)]


def _marks(chat: Chat) -> Sequence[str]:
    return list(chat.kept()[0].marks())


def _nothing(chat: Chat) -> Sequence[str]:
    return ()


def command(name: str, usage: str = "", *, offers: Offers = _nothing, words: Offers = _nothing) -> Callable[[Run], Run]:
    """Register a function under a name; its docstring is its help."""

    def register(run: Run) -> Run:
        COMMANDS[name] = Command(name, f"/{name} {usage}".strip(), run.__doc__ or "", run, offers, words)
        return run

    return register


def obey(chat: Chat, line: str) -> None:
    """Carry out a command. Raises SpecError for one that there is not, naming the nearest."""
    name, *rest = line[1:].split(maxsplit=1) if line[1:].strip() else ["help"]
    find(name).run(chat, rest[0].strip() if rest else "")


def find(name: str) -> Command:
    """Return a command by its name. Raises SpecError, naming the nearest where one is near."""
    if name in COMMANDS:
        return COMMANDS[name]
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean /{close[0]}?" if close else f"there are {', '.join(f'/{known}' for known in COMMANDS)}"
    raise SpecError(f"no command /{name}; {hint}")


def table() -> str:
    """Return all commands as a table in Markdown, for the README."""
    bar = r"\|"
    rows = [f"| `{one.usage.replace('|', bar)}` | {one.help.rstrip('.')} |" for one in COMMANDS.values()]
    return "\n".join(["| in the chat | |", "|---|---|", *rows])


# ---- goals -----------------------------------------------------------------------------------------------------------


@command("imagine", "GOAL", words=goal_words)
def imagine(chat: Chat, rest: str) -> None:
    """Plan a goal and rehearse it; nothing is done."""
    chat.imagine(rest)


@command("plan", "GOAL", words=goal_words)
def plan(chat: Chat, rest: str) -> None:
    """The same as /imagine."""
    chat.imagine(rest)


@command("whatif", "PLAN|CHANGE", words=_plan_words)
def whatif(chat: Chat, rest: str) -> None:
    """Rehearse a plan of your own for the last goal, or the last plan under other inputs; nothing is done."""
    goal, spec = _last_goal(chat), chat.agent.world.spec
    if not spec.exogenous or "(" in rest:
        chat.imagine(goal, read_plan(spec, rest))
        return
    plan = chat.last.plan if chat.last else None
    if plan is None:
        raise SpecError("no plan was chosen yet that something could be supposed for; say a goal first")
    now, seed = supposing.inputs_now(chat.session), chat.agent.config.seed
    meant, supposed = supposing.understand(spec, chat.agent.llm, rest, now, seed)
    if meant != rest:
        chat.console.print(f"I take that to mean: {escape(meant)}.", highlight=False)
    with waiting(chat.console, "Imagining the plan with the change and without") as say:
        compared = supposing.compare(
            chat.agent,
            chat.session,
            spec.parse_plan(plan),
            supposed,
            practising=lambda step: say(f"Practising {step} in imagination"),
        )
    for line in supposing.told(compared):
        chat.console.print(escape(line), highlight=False)


@command("edit", "[PLAN]", words=_plan_words)
def edit(chat: Chat, rest: str) -> None:
    """Change the plan chosen last: it is rehearsed, and carried out when you approve."""
    goal = _last_goal(chat)
    text = rest or _changed(chat)
    if text.strip():
        chat.pursue(goal, read_plan(chat.agent.world.spec, text))
    else:
        chat.console.print("Nothing was changed.")


@command("why")
def why(chat: Chat, rest: str) -> None:
    """Show side by side all plans that were judged for the last goal, and what was decided."""
    if chat.last is None:
        chat.console.print("Nothing has been decided yet.")
        return
    last = chat.last
    for event in chat.judged:
        chat.console.print(f"[dim]round {event.round + 1}[/]", highlight=False)
        chat.console.print(Padding(verdicts(event.verdicts, last.plan, whole=True), (0, 0, 0, 2)))
    if not chat.judged and last.verdict:
        chat.console.print(Padding(verdicts([last.verdict], last.plan, whole=True), (0, 0, 0, 2)))
    chat.console.print(f"{escape(last.goal)}: {escape(words.answer(last))}", highlight=False)
    if last.verdict:
        chat.console.print(f"Beforehand: {escape(words.expectation(last.verdict))}", highlight=False)


@command("undo")
def undo(chat: Chat, rest: str) -> None:
    """Go back to before the last goal; its episode stays stored."""
    _, conversation = chat.kept()
    turns = chat.turns()
    if not turns:
        raise SpecError("nothing to undo: this conversation has no goal yet")
    last = turns[-1]
    done = len(chat.session.actions) - last.origin
    chat.go_back(conversation, len(turns) - 1)
    episode = (last.outcome or {}).get("episode")
    stays = f" Its episode {episode} stays stored, and learning may use it." if episode is not None else ""
    undone = f"{words.counted(done, 'action')} undone"
    chat.console.print(f"Back to before “{escape(last.goal)}”, {undone}.{stays}", highlight=False)
    show_world(chat)


@command("history")
def history(chat: Chat, rest: str) -> None:
    """List the goals of this conversation and how they ended."""
    turns = chat.turns()
    if not turns:
        chat.console.print("No goals yet.")
        return
    ends = [*(turn.origin for turn in turns[1:]), len(chat.session.actions)]
    for number, (turn, end) in enumerate(zip(turns, ends, strict=True), 1):
        status = str(turn.outcome["status"]).replace("_", " ") if turn.outcome else "not finished"
        actions = words.counted(end - turn.origin, "action")
        chat.console.print(f"{number:>3}  {escape(turn.goal)}: {status}, {actions}", highlight=False)


# ---- worlds and conversations ----------------------------------------------------------------------------------------


@command("world", "[ID] [SEED]", offers=lambda chat: chat.worlds)
def world(chat: Chat, rest: str) -> None:
    """Show the surroundings, or begin anew in another world or with another seed."""
    said = re.fullmatch(r"(?P<id>\D\S*)?\s*(?P<seed>\d+)?", rest)
    if said is None:
        raise SpecError("write /world, /world SEED, /world ID or /world ID SEED")
    seed = chat.session.seed if said["seed"] is None else int(said["seed"])
    if seed > LARGEST_SEED:
        raise SpecError(f"a seed is a number from 0 to {LARGEST_SEED:,}")
    if said["id"]:
        chat.agent = chat.agent.elsewhere(chat.find_world(said["id"]))
    if rest:
        chat.begin(seed)
    show_world(chat)


@command("save", "NAME", offers=_marks)
def save(chat: Chat, rest: str) -> None:
    """Give the conversation, as it is now, a name."""
    journal, conversation = chat.kept()
    name, turns = _name(rest), len(chat.turns())
    before = journal.marks().get(name)
    journal.mark(name, conversation.id, turns)
    instead = " in place of what had that name" if before else ""
    chat.console.print(f"Saved as {escape(name)}{instead}; /load {escape(name)} comes back here.", highlight=False)


@command("load", "NAME", offers=_marks)
def load(chat: Chat, rest: str) -> None:
    """Go on from a conversation that was saved, as it was then."""
    marks = chat.kept()[0].marks()
    name = _name(rest)
    if name not in marks:
        there = f"saved are: {', '.join(marks)}" if marks else "none was saved yet (/save NAME)"
        raise SpecError(f"no conversation is saved as {name}; {there}")
    conversation, turns = marks[name]
    chat.go_back(conversation, turns)
    chat.console.print(f"Back in {escape(name)}, after {words.counted(turns, 'goal')}.", highlight=False)
    show_world(chat)


# ---- the agent -------------------------------------------------------------------------------------------------------


@command("approve", "always|ask", offers=lambda chat: ("always", "ask"))
def approve(chat: Chat, rest: str) -> None:
    """Act without asking from now on, or ask before every plan."""
    if rest not in ("always", "ask"):
        raise SpecError(f"write /approve always or /approve ask; now it is {'always' if chat.yes else 'ask'}")
    chat.yes = rest == "always"
    chat.console.print("I act without asking." if chat.yes else "I ask before I act.")


@command("llm", "[NAME]", offers=lambda chat: ("embedded:planner", "embedded", "openai:", "vllm", "scripted:"))
def llm(chat: Chat, rest: str) -> None:
    """Say which language model writes plans, or take another: embedded:planner, openai:URL, vllm, OWNER/NAME."""
    if rest:
        with waiting(chat.console, f"Waking up {rest}"):
            model = chat.find_llm(rest)
        chat.agent.llm, chat.agent.config = model, chat.agent.config.model_copy(update={"llm": rest})
    chat.console.print(f"{escape(chat.agent.llm.name)} writes the plans.", highlight=False)


@command("models")
def models(chat: Chat, rest: str) -> None:
    """List the world models and the language models there are."""
    rows = Table.grid(padding=(0, 2, 0, 0))
    for info in checkpoint.available():
        used = info.path == chat.agent.trained.path
        size = f"{info.parameters / 1e6:.2f} M parameters"
        rows.add_row(
            "▸" if used else "", Text(info.name), "world model", f"{info.family}, for {info.spec_name}, {size}"
        )
    rows.add_row("▸", Text(chat.agent.llm.name), "language", "/llm openai:URL takes another")
    chat.console.print(rows, highlight=False)


@command("learn", "[STEPS]")
def learn(chat: Chat, rest: str) -> None:
    """Take gradient steps on what is stored, into a new checkpoint."""
    steps = chat.agent.config.learn_steps
    if rest:
        if not rest.isdecimal() or not 1 <= int(rest) <= MOST_LEARNING:
            raise SpecError(f"write /learn, or /learn STEPS with 1 to {MOST_LEARNING:,} steps")
        steps = int(rest)
    if chat.agent.store is None or not steps:
        why = "nothing is stored here" if chat.agent.store is None else "--learn-steps is 0; write /learn STEPS"
        raise SpecError(f"nothing was learnt: {why}")
    with waiting(chat.console, f"Taking {steps} gradient steps"):
        learned = chat.agent.learn(steps)
    if learned:
        chat.console.print(escape(words.learnt(learned)), highlight=False)
        for name in sorted(learned.before):
            chat.console.print(f"  {name}: {learned.before[name]:.3f} → {learned.after[name]:.3f}", highlight=False)
        if learned.checkpoint:
            chat.console.print("[dim]It is used when it is named (--checkpoint); this conversation keeps its own.[/]")


# ---- the rest --------------------------------------------------------------------------------------------------------


@command("help", "[COMMAND]", offers=lambda chat: list(COMMANDS))
def help(chat: Chat, rest: str) -> None:
    """Say what can be typed."""
    shown = [find(rest.removeprefix("/"))] if rest else list(COMMANDS.values())
    rows = Table.grid(padding=(0, 2, 0, 2))
    for one in shown:
        rows.add_row(Text(one.usage, style="bold"), one.help)
    chat.console.print(rows, highlight=False)
    if rest:
        return
    chat.console.print("  Anything else is a goal. A plan is written step; step; made of:", highlight=False)
    for line in abilities(chat.agent.world.spec):
        chat.console.print(f"    {escape(line)}", highlight=False)


@command("quit")
def quit(chat: Chat, rest: str) -> None:
    """Leave; `gedanken chat --continue` comes back."""
    raise Quit


# ---- for several -----------------------------------------------------------------------------------------------------


def show_world(chat: Chat) -> None:
    """Say where the agent is and what it knows of it; in a terminal, draw that."""
    world, known = chat.agent.world, chat.session.known()
    scene = f"[bold]{world.id}[/], seed {chat.session.seed}. {escape(chat.session.scene())}"
    chat.console.print(scene, highlight=False)
    if chat.console.is_terminal:
        chat.console.print(Padding(draw_known(world.spec, *known), (0, 0, 0, 2)))


def read_plan(spec: WorldSpec, text: str) -> Plan:
    """Read steps that lines, `;` or `→` part. Raises SpecError saying which step is wrong, and what is near to it."""
    texts = [part.strip() for part in re.split(r"[;\n→]", text) if part.strip()]
    if not 1 <= len(texts) <= MAX_STEPS:
        skills = "; ".join(skill.name for skill in spec.skills)
        raise SpecError(
            f"a plan has 1 to {MAX_STEPS} steps, parted by `;`, this one has {len(texts)}; skills: {skills}"
        )
    steps = []
    for number, part in enumerate(texts, 1):
        try:
            steps.append(spec.parse_step(part))
        except SpecError as error:
            near = vocabulary.near(spec, part)
            hint = f". Did you mean {listed(near)}?" if near else ""
            raise SpecError(f"step {number}: {error}{hint}") from error
    return Plan(steps=tuple(steps))


def _last_goal(chat: Chat) -> str:
    if chat.last is None:
        raise SpecError("there is no goal yet that a plan could be judged for; say one, or /imagine one, first")
    return chat.last.goal


def _changed(chat: Chat) -> str:
    """Ask for a plan, with the one chosen last, or else the likeliest of those judged, to begin from."""
    judged = [verdict for event in chat.judged for verdict in event.verdicts]
    before = chat.last.plan if chat.last else None
    if before is None and judged:
        before = str(max(judged, key=lambda verdict: verdict.success).plan)
    try:
        return chat.person.answer("Plan: ", "; ".join(before.split("\n")) if before else "")
    except EOFError:
        return ""


def _name(text: str) -> str:
    if not re.fullmatch(r"[\w-]{1,64}", text):
        raise SpecError("a conversation's name is 1 to 64 letters, digits, - and _, such as red-key")
    return text
