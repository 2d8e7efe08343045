"""From a description to the things in it: by the words that a world knows and their order, else by a language model.

What is said in the world's own words is read exactly. Of what is not ("a crimson sphere"), a language model is asked
which thing it names, one phrase at a time; whole descriptions are beyond the embedded one (see the log).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from gedanken.agent.config import LoopConfig
from gedanken.agent.goals import GoalError, check_goal
from gedanken.agent.llm.protocol import LanguageModel
from gedanken.agent.propose import Promptable, propose
from gedanken.worlds.spec import Attribute, Parameter, Skill, WorldSpec

Reader = Callable[[str], str | None]
"""Says in a world's own words which thing other words name, None where none."""

SURE = -1.0
"""Log-probability from which a language model's reading counts; right ones had -0.1 to -0.8, see the log."""

_APPEARS = re.compile(r"\b(?:appear|come|turn up|there (?:is|are))", re.IGNORECASE)
_BETWEEN = frozenset(
    ("at", "behind", "beside", "by", "from", "i", "in", "inside", "is", "are", "me", "near", "next", "of", "on")
    + ("put", "see", "that", "there", "to", "under", "where", "with")
)
"""Words that stand between things and name none."""

_WORD = re.compile(r"[^\W_]+")
_PHRASE = re.compile(r"[,;.!?]|\b(?:a|an|and|the|some|one|two|three)\b", re.IGNORECASE)
_NOT = re.compile(r"\b(?:no|not|never|nothing|nobody)\b|n['’]t\b", re.IGNORECASE)


def ground(spec: WorldSpec, words: str, reader: Reader | None = None) -> list[str]:
    """Return the things that words speak of, each once, as `Thing.parse` reads them.

    States and colours belong to the thing named after them, places ("behind you") to the one named before; how things
    lie to each other ("behind a door") is not understood. A `reader` is asked of phrases in which no thing is named, or
    one without a colour beside other words; what it does not know is passed over. Raises GoalError for words that are
    none, and for those that name nothing; LLMError where the reader does.
    """
    words, things = check_goal(words), list[str]()
    for phrase in _PHRASE.split(words) if reader else [words]:
        things += _helped(spec, phrase, reader) if reader else _things(spec, phrase)
    if not things:
        names = [word for _, group in _groups(spec) for word in group]
        raise GoalError(f"{words!r} names nothing that this world knows; use its words: {', '.join(names)}")
    return list(dict.fromkeys(things))


def reading(world: Promptable, llm: Callable[[], LanguageModel]) -> Reader:
    """Return a reader that asks a language model for a plan to go to what is said; `llm` is called when it is needed.

    A plan of more than that, one that is not believed in, and none are no reading.
    """
    skill, _ = _first(world.spec)
    config = LoopConfig.preset(candidates=1, temperature=0.0)

    def read(words: str) -> str | None:
        goal = f"{skill.name.replace('_', ' ')} the {words}"
        proposed = propose(world, llm(), "", goal, config, may_decline=True)
        for candidate in proposed.candidates:
            [step, *others] = world.spec.parse_plan(candidate.plan).steps
            believed = candidate.log_probability is None or candidate.log_probability >= SURE
            if step.skill == skill.name and not others and believed:
                return " ".join(word for word in step.arguments[0] if word)
        return None

    return read


def _helped(spec: WorldSpec, phrase: str, reader: Reader) -> list[str]:
    """Return the things of a phrase; a reader names the one that is not named, and the colour of one without."""
    found, words = _things(spec, phrase), [word for word in _WORD.findall(phrase.lower()) if word not in _BETWEEN]
    groups = {word: attribute for attribute, group in _groups(spec) for name in group for word in name.split()}
    kinds = [word for word in words if (of := groups.get(word)) and not of.optional]
    before = words[: words.index(kinds[0])] if kinds else words
    coloured = any((of := groups.get(word)) and of.channel and of.optional for word in before)
    if len(found) > 1 or coloured or all(word in groups for word in before):
        return found
    states = [word for word in before if word in groups and groups[word] is None]
    said = reader(" ".join([*(word for word in before if word not in states), *kinds[:1]]))
    if said is None:
        return found
    if not found:
        return [" ".join([*states, said])]
    return [found[0].replace(kinds[0], said, 1)] if kinds[0] in said.split() else found


def _things(spec: WorldSpec, words: str) -> list[str]:
    """Return the things that are named in the world's own words."""
    found = sorted(
        (match.start(), match[1].lower(), attribute)
        for attribute, group in _groups(spec)
        for match in _said(words, [word for word in group if attribute is None or word != attribute.any_value])
    )
    things: list[str] = []
    before: dict[str, str] = {}  # what was said before a name, the latest of each kind
    for _, word, attribute in found:
        if attribute and not attribute.optional:
            things.append(" ".join([*(before[key] for key in _order(spec) if key in before), word]))
            before = {}
        elif attribute and attribute.channel is None:
            if things:
                things[-1] += f" {word}"
        else:
            before[attribute.name if attribute else ""] = word
    return things


def ground_event(spec: WorldSpec, words: str) -> tuple[str, str | None]:
    """Return what an event makes of a thing, and the thing as it was; None where it was not there before.

    "the locked door opens" is ``open door`` that was ``locked door``, "a red ball appears" just ``red ball``. Raises
    GoalError for words that name nothing, or several things, and for what is no change of state and no appearing.
    """
    things, (states, *others) = ground(spec, words), _groups(spec)
    if len(things) > 1:
        raise GoalError(f"this names {' and '.join(things)}; say what happens to one thing at a time")
    [thing] = things
    name = max(
        match.end()
        for attribute, group in others
        if attribute and not attribute.optional
        for match in _said(words, group)
    )
    becomes = [
        word for word in states[1] if re.search(rf"\b{_stem(word)}(?:e?[sd]?|ing)\b", words[name:], re.IGNORECASE)
    ]
    if _NOT.search(words) or len(becomes) > 1 or not (becomes or _APPEARS.search(words)):
        raise GoalError(
            f"{words[:80]!r} is no event of this world; say of one thing that it appears,"
            f" or that it is now {' or '.join(states[1])}"
        )
    if not becomes:
        return thing, None
    bare = thing.split()
    while bare[0] in states[1]:
        bare.pop(0)
    return " ".join([*becomes, *bare]), thing


def _first(spec: WorldSpec) -> tuple[Skill, Parameter]:
    """Return the first skill that takes a thing, and how that is said."""
    return next((skill, part) for skill in spec.skills for part in skill.parameters if isinstance(part, Parameter))


def _groups(spec: WorldSpec) -> list[tuple[Attribute | None, Sequence[str]]]:
    """Return the words of things, those of states first, then each attribute's."""
    _, first = _first(spec)
    allowed, spoken = dict(first.allowed), {attribute.channel for attribute in spec.attributes}
    states = [word for channel in spec.grid.channels if channel.name not in spoken for word in channel.categories]
    return [(None, states), *((attribute, allowed.get(attribute.name, ())) for attribute in spec.attributes)]


def _stem(word: str) -> str:
    """Return a state's word without its ending: clos, lock, open."""
    return re.escape(re.sub("e?d$", "", word))


def _order(spec: WorldSpec) -> list[str]:
    """Return the order in which words stand before a name: states, then attributes as phrases have them."""
    return ["", *(attribute.name for attribute in spec.attributes)]


def _said(words: str, group: Sequence[str]) -> list[re.Match[str]]:
    """Find the words of a group, also in the plural."""
    pattern = "|".join(re.escape(word) for word in sorted(group, key=len, reverse=True))
    return list(re.finditer(rf"\b({pattern})(?:e?s)?\b", words, re.IGNORECASE)) if pattern else []
