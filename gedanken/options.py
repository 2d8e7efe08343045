"""Options that commands share; those that steer the loop are made from `LoopConfig`, help and limits included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import click
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from gedanken.agent.config import LoopConfig, Preset

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

NAMES = {"seed": "agent_seed"}
"""Fields whose option is called otherwise: --seed is the world's."""


def loop_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for every field of LoopConfig, and --preset; the command gets them as keyword arguments."""
    for name, field in reversed(LoopConfig.model_fields.items()):
        command = _option(name, field)(command)
    choice = click.Choice(list(get_args(Preset)))
    return click.option("--preset", type=choice, default="default", help="Named values of the options below.")(command)


def loop_config(preset: Preset, given: dict[str, Any]) -> LoopConfig:
    """Make the config of a preset and the options that were given. Raises click.UsageError for a value out of range."""
    changes = {name: value for name, value in given.items() if value is not None}
    try:
        return LoopConfig.preset(preset, **changes)
    except ValidationError as error:
        [first, *_] = error.errors()
        name = str(first["loc"][0])
        option = NAMES.get(name, name).replace("_", "-")
        raise click.UsageError(f"--{option} {first['input']}: {first['msg'].lower()}") from error


def split(options: dict[str, Any]) -> LoopConfig:
    """Take the loop's options out of a command's and return the config."""
    given = {name: options.pop(NAMES.get(name, name)) for name in LoopConfig.model_fields}
    return loop_config(options.pop("preset"), given)


def _option(name: str, field: FieldInfo) -> Decorator:
    name = NAMES.get(name, name)
    flag = f"--{name.replace('_', '-')}"
    kind: Any = next((each for each in get_args(field.annotation) if each is not type(None)), field.annotation)
    default = "" if field.default is None else f"  [default: {str(field.default).lower()}]"
    help = f"{field.description}{default}"
    if kind is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=help)
    return click.option(flag, name, type=kind, default=None, metavar=kind.__name__.upper(), help=help)


world_option = click.option(
    "--world", default="BabyAI-GoToLocal-v0", show_default=True, metavar="ID", help="A world of `gedanken worlds`."
)
seed_option = click.option(
    "--seed", type=click.IntRange(0, (1 << 30) - 1), default=0, show_default=True, help="Seed of the world."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
yes_option = click.option("--yes", "-y", is_flag=True, help="Act without asking.")
