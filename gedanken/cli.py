"""The command line: names and one-line helps, each command loaded when it is called; errors and exit codes.

Exit codes: 0 goal reached, 1 error, 2 usage, 3 goal not reached or declined, 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

REACHED, ERROR, USAGE, NOT_REACHED, INTERRUPTED = 0, 1, 2, 3, 130

COMMANDS = {
    "chat": ("gedanken.talk", "Talk to the agent: goal after goal in one environment."),
    "run": ("gedanken.pursue", "Reach GOAL in a real environment, rehearsed first."),
    "plan": ("gedanken.pursue", "Imagine how GOAL could be reached; nothing is done."),
    "whatif": ("gedanken.suppose", "Say what a plan comes to under other inputs."),
    "demo": ("gedanken.pursue", "Watch the whole loop once, on a goal with several steps."),
    "imagine": ("gedanken.imagine", "Draw what is imagined beside what then happens."),
    "dream": ("gedanken.dream", "Live inside the learned model; nothing is real."),
    "mcp": ("gedanken.embedding", "Serve an environment to an MCP client."),
    "serve": ("gedanken.embedding", "Serve an environment over HTTP."),
    "collect": ("gedanken.upkeep", "Make practice episodes with the demonstrator."),
    "train": ("gedanken.upkeep", "Train a world model, its controller and its critic."),
    "eval": ("gedanken.upkeep", "Measure the agent on a suite, with intervals."),
    "bench": ("gedanken.bench", "Time single decisions on this machine."),
    "compare": ("gedanken.upkeep", "Say what changed between two runs beyond noise."),
    "report": ("gedanken.upkeep", "Write a page of charts and tables from runs."),
    "worlds": ("gedanken.bring", "List the worlds there are, or add one."),
    "learn": ("gedanken.bring", "Learn an added world by trying."),
    "import": ("gedanken.logged", "Make a world of a log; it is never acted in."),
    "export": ("gedanken.logged", "Write what was lived through as a Minari dataset."),
    "models": ("gedanken.upkeep", "List the checkpoints and language models there are."),
    "doctor": ("gedanken.doctor", "Check that everything needed is here and sound."),
}

KNOWN = {
    "gedanken.agent.goals.GoalError",
    "gedanken.agent.llm.protocol.LLMError",
    "gedanken.agent.session.SessionError",
    "gedanken.evals.errors.EvalError",
    "gedanken.prompts.PromptError",
    "gedanken.tools.refusals.Refused",
    "gedanken.worldmodel.checkpoint.CheckpointError",
    "gedanken.worldmodel.experience_file.StoreError",
    "gedanken.worldmodel.train.TrainingError",
    "gedanken.worlds.protocol.WorldError",
    "gedanken.worlds.spec.SpecError",
}
"""Errors whose message is all that a person needs."""


MOST = 1_000
"""Characters of an error that are shown."""


class Commands(click.Group):
    """A group whose commands' modules are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of a newcomer's needs."""
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is meant; `eval compare` is `compare`."""
        return super().resolve_command(ctx, args[1:] if args[:2] == ["eval", "compare"] else args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help) for name, (_, help) in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gedanken")
def cli() -> None:
    """Gedanken plans in words, rehearses its plans in a learned world model, and only then acts."""


def run(arguments: Sequence[str]) -> int:
    """Run a command and return the exit code; every error becomes one line on stderr."""
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # no progress bars of libraries in a pipe
    try:
        result = cli.main(list(arguments), prog_name="gedanken", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else REACHED
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nInterrupted.", err=True)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our answer has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    except Exception as error:
        if os.environ.get("GEDANKEN_DEBUG"):
            raise
        click.echo(f"Error: {explain(error)}", err=True)
        return ERROR


def explain(error: BaseException) -> str:
    """Say an error in one line: its own words where they were made for people, otherwise where to look."""
    text = " ".join(str(error).split())[:MOST]
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    if names & KNOWN:
        return text
    if isinstance(error, OSError) and error.strerror:
        what = f"{error.filename}: " if error.filename else ""
        return f"{what}{error.strerror}; check the path, its rights and the free space, and try again"
    if isinstance(error, ImportError):
        return f"{text}; install the package again (`make install`)"
    return f"{type(error).__name__}: {text} (unexpected; GEDANKEN_DEBUG=1 shows where it happened)"


def main() -> None:
    """Run the command line of this process."""
    sys.exit(run(sys.argv[1:]))
