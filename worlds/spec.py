"""What a world is, in types: skills, steps, plans, and all that a model depends on. Knows no environment and no model.

A plan is text, one step a line: ``put_next_to(red ball, blue key)`` where a world shows a grid, ``keep(speed, -1..1,
for 50)`` where it shows numbers. A parameter is a phrase made of attributes that are enumerated (`colour`, `kind`,
`place`), or a slot for a variable, a number or an expression. Grammar and parser follow from the spec, and for phrases
a tensor encoding.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from pydantic import model_validator

from gedanken.worlds import slots
from gedanken.worlds.expressions import ExpressionError
from gedanken.worlds.fields import Axis, Frozen, GridField, VectorField
from gedanken.worlds.pictures import Picture

MAX_STEPS = 6
"""Most steps a plan may hold; the grammar and the parser both refuse more."""

_WORDS = re.compile(r"[^\W_](?:[-'_\w ]*\w)?")
_VERB = re.compile(r"[a-z][a-z0-9_]*")

NONE = "none"
"""What a language model writes in place of a plan where none will do."""


class SpecError(ValueError):
    """A plan, a step or a spec says something that this world does not know."""


class Attribute(Frozen):
    """One enumerated word group of a phrase; `channel` names the grid channel whose categories it speaks of.

    An attribute without a channel speaks of places relative to where the agent stood when the goal was given.
    `optional` attributes may be left out; `any_value` is a word that matches every category ("object").
    """

    name: str
    values: tuple[str, ...]
    channel: str | None = None
    optional: bool = True
    any_value: str | None = None

    @model_validator(mode="after")
    def _can_be_said(self) -> Attribute:
        words = (*self.values, *([self.any_value] if self.any_value else []))
        if bad := [word for word in words if not _WORDS.fullmatch(word)]:
            raise ValueError(f"{', '.join(map(repr, bad))}: no plan can say that; words have letters, digits, - and '")
        return self


class Parameter(Frozen):
    """One argument of a skill: attribute names in the order they are spoken, and per attribute the values allowed."""

    name: str
    allowed: tuple[tuple[str, tuple[str, ...]], ...]


class Slot(Frozen):
    """One argument of an objective skill: what the language model reads as its name, and its form (see `slots`)."""

    name: str
    form: slots.Form


class Skill(Frozen):
    """A typed verb that a plan may use, with one line of documentation for the language model.

    With `means`, a step in other skills' words, it is a name for that step and takes no arguments: whoever reads a plan
    gets what is meant, so nothing learned depends on it.
    """

    name: str
    doc: str
    parameters: tuple[Parameter | Slot, ...] = ()
    means: str = ""

    @model_validator(mode="after")
    def _can_be_said(self) -> Skill:
        if not _VERB.fullmatch(self.name):
            raise ValueError(f"{self.name!r}: no plan can say that; a skill is named like go_to, in small letters")
        return self

    def signature(self) -> str:
        """Return the line that the language model reads, ``open(door): …``."""
        return f"{self.name}({', '.join(p.name for p in self.parameters)}): {self.doc}"


Phrase = tuple[str | None, ...]
"""One value, or None, for each of the world's attributes, in the spec's order; for a slot its one spelling."""


class Step(Frozen):
    """One skill call with its arguments."""

    skill: str
    arguments: tuple[Phrase, ...] = ()

    def __str__(self) -> str:
        phrases = [" ".join(word for word in phrase if word) for phrase in self.arguments]
        return f"{self.skill}({', '.join(phrases)})"


class Plan(Frozen):
    """An ordered list of steps."""

    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return "\n".join(str(step) for step in self.steps)

    def line(self) -> str:
        """Return the plan on one line, for tables and logs."""
        return " → ".join(str(step) for step in self.steps)


class WorldSpec(Frozen):
    """Everything that a model trained on this kind of world depends on."""

    name: str
    observation: GridField | VectorField
    actions: tuple[str, ...] | tuple[Axis, ...]
    attributes: tuple[Attribute, ...]
    skills: tuple[Skill, ...]
    exogenous: tuple[str, ...] = ()

    @cached_property
    def hash(self) -> str:
        """Return 12 hexadecimal digits that change when a trained model would no longer fit."""
        unseen = {"expressions", "bounds", "empty", "picture", "sayings"}
        if isinstance(self.observation, VectorField):
            unseen -= {part for part in ("picture", "sayings") if getattr(self.observation, part)}
        words: Any = {"skills": {"__all__": {"doc", "means"}}, "observation": unseen}
        own = self.model_copy(update={"skills": tuple(skill for skill in self.skills if not skill.means)})
        text = json.dumps(own.model_dump(exclude=words), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def grid(self) -> GridField:
        """Return the observation of a world that shows a grid. Raises SpecError for one that shows numbers."""
        if isinstance(self.observation, GridField):
            return self.observation
        raise SpecError(f"world {self.name!r} shows numbers, and this needs a grid of categories")

    @property
    def vector(self) -> VectorField:
        """Return the observation of a world that shows numbers. Raises SpecError for one that shows a grid."""
        if isinstance(self.observation, VectorField):
            return self.observation
        raise SpecError(f"world {self.name!r} shows a grid, and this needs named numbers")

    @property
    def picture(self) -> Picture | None:
        """Return what is shown as a picture, None where nothing is."""
        return self.observation.picture if isinstance(self.observation, VectorField) else None

    @property
    def action_names(self) -> tuple[str, ...]:
        """Return the names of the actions, or of the controls where they are continuous."""
        return tuple(action if isinstance(action, str) else action.name for action in self.actions)

    @property
    def controls(self) -> tuple[Axis, ...]:
        """Return the continuous controls, none where actions are discrete."""
        return tuple(action for action in self.actions if isinstance(action, Axis))

    def skill(self, name: str) -> Skill:
        """Return the skill of that name. Raises SpecError naming the skills there are."""
        for skill in self.skills:
            if skill.name == name:
                return skill
        raise SpecError(f"no skill {name!r} in world {self.name!r}; it has {', '.join(s.name for s in self.skills)}")

    def differences(self, other: WorldSpec) -> list[str]:
        """Return the names of the parts in which two specs differ."""
        mine, theirs = self.model_dump(), other.model_dump()
        return [key for key in mine if mine[key] != theirs[key]]

    # ---- text ------------------------------------------------------------------------------------------------------

    def parse_step(self, text: str) -> Step:
        """Parse ``open(red door)``. Raises SpecError with the text and what was expected."""
        name, bracket, rest = text.strip().partition("(")
        if not bracket or not rest.endswith(")"):
            raise SpecError(f"not a step: {text!r}; write skill(argument, …), for example {self._example()!r}")
        skill = self.skill(name.strip())
        phrases = _arguments(rest[:-1]) if rest[:-1].strip() else []
        if len(phrases) != len(skill.parameters):
            raise SpecError(f"{skill.name} takes {len(skill.parameters)} argument(s), {text!r} has {len(phrases)}")
        if skill.means:
            return self.parse_step(skill.means)
        arguments = tuple(self._parse_argument(p, q) for p, q in zip(phrases, skill.parameters, strict=True))
        return Step(skill=skill.name, arguments=arguments)

    def parse_plan(self, text: str) -> Plan:
        """Parse one step a line. Raises SpecError for an empty plan or one of more than MAX_STEPS steps."""
        lines = [line for line in text.strip().splitlines() if line.strip()]
        if not 1 <= len(lines) <= MAX_STEPS:
            raise SpecError(f"a plan has 1 to {MAX_STEPS} steps, this one has {len(lines)}")
        return Plan(steps=tuple(self.parse_step(line) for line in lines))

    def _example(self) -> str:
        skill = self.skills[0]
        words = [
            p.name if isinstance(p, Slot) else " ".join(values[0] for _, values in p.allowed if values)
            for p in skill.parameters
        ]
        return f"{skill.name}({', '.join(words)})"

    def _parse_argument(self, text: str, parameter: Parameter | Slot) -> Phrase:
        if isinstance(parameter, Parameter):
            return self._parse_phrase(text, parameter)
        try:
            return (slots.read(parameter.form, text, self.vector.names, self.vector.words),)
        except ExpressionError as error:
            raise SpecError(f"{parameter.name}: {error}") from error

    def _parse_phrase(self, text: str, parameter: Parameter) -> Phrase:
        rest, allowed, phrase = text, dict(parameter.allowed), []
        for attribute in self.attributes:
            matching = [v for v in allowed.get(attribute.name, ()) if rest == v or rest.startswith(v + " ")]
            if not matching and not attribute.optional:
                raise SpecError(f"{text!r} names no {attribute.name}; choose from {', '.join(allowed[attribute.name])}")
            value = max(matching, key=len) if matching else None
            phrase.append(value)
            rest = rest[len(value) :].lstrip() if value else rest
        if rest:
            raise SpecError(f"{rest!r} in {text!r} is no word of this world")
        return tuple(phrase)

    # ---- tensors ---------------------------------------------------------------------------------------------------

    @cached_property
    def max_arguments(self) -> int:
        """Return the most parameters that any skill takes."""
        return max(len(skill.parameters) for skill in self.skills)

    @cached_property
    def step_sizes(self) -> tuple[int, ...]:
        """Return how many codes each slot of `step_codes` has: the skill, then every attribute of every argument."""
        phrase = [len(attribute.values) + 1 for attribute in self.attributes]
        return (len(self.skills), *(phrase * self.max_arguments))

    def step_codes(self, step: Step) -> tuple[int, ...]:
        """Encode a step as integers, 0 in an attribute's slot meaning "not said".

        Raises SpecError for an objective: its numbers are pursued by search, and no controller reads them.
        """
        if any(isinstance(parameter, Slot) for parameter in self.skill(step.skill).parameters):
            raise SpecError(f"{step} is an objective and has no codes")
        codes = [[skill.name for skill in self.skills].index(step.skill)]
        for position in range(self.max_arguments):
            phrase = step.arguments[position] if position < len(step.arguments) else (None,) * len(self.attributes)
            codes += [0 if w is None else a.values.index(w) + 1 for w, a in zip(phrase, self.attributes, strict=True)]
        return tuple(codes)

    def plan_codes(self, steps: Sequence[Step]) -> list[tuple[int, ...]]:
        """Encode several steps, see `step_codes`."""
        return [self.step_codes(step) for step in steps]

    # ---- grammar ---------------------------------------------------------------------------------------------------

    def grammar(self, *, none: bool = False) -> str:
        """Return a Lark grammar of every plan of 1 to MAX_STEPS steps, each closed by a newline, and of `NONE`."""
        rules = ["start: " + (f'"{NONE}\\n" | ' if none else "") + "step " + self._nested(MAX_STEPS - 1)]
        rules.append("step: (" + " | ".join(f"{skill.name}_call" for skill in self.skills) + ') "\\n"')
        for skill in self.skills:
            phrases = ' ", " '.join(p.form if isinstance(p, Slot) else self._phrase_rule(p) for p in skill.parameters)
            rules.append(f'{skill.name}_call: "{skill.name}(" {phrases} ")"')
        if isinstance(self.observation, VectorField):
            rules += slots.rules(self.observation.names, self.observation.words)
        return "\n".join(rules) + "\n"

    def _nested(self, depth: int) -> str:
        return f"(step {self._nested(depth - 1)})?" if depth else ""

    def _phrase_rule(self, parameter: Parameter) -> str:
        allowed, parts = dict(parameter.allowed), []
        seen_required = False
        for attribute in self.attributes:
            values = allowed.get(attribute.name, ())
            if not values:
                continue
            before = " " if seen_required else ""
            after = " " if attribute.optional and not seen_required else ""
            words = " | ".join(f'"{before}{value}{after}"' for value in values)
            parts.append(f"({words})" + ("?" if attribute.optional else ""))
            seen_required = seen_required or not attribute.optional
        return " ".join(parts)


def _arguments(text: str) -> list[str]:
    """Split at the commas that are in no brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
