"""`gedanken mcp` and `gedanken serve`: Gedanken for other programs, over MCP or HTTP."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import click

from gedanken.cli import REACHED
from gedanken.options import loop_options, seed_option, split, world_option

if TYPE_CHECKING:
    from gedanken.agent.config import LoopConfig
    from gedanken.tools.runs import Runs, Workplace

TOKEN = "GEDANKEN_TOKEN"

host_option = click.option(
    "--host", default="127.0.0.1", show_default=True, help=f"Address; one that others can reach needs ${TOKEN}."
)
port_option = click.option(
    "--port", type=click.IntRange(0, 65535), default=8642, show_default=True, help="Port; 0 takes a free one."
)
queue_option = click.option(
    "--queue", type=click.IntRange(1, 1000), default=32, show_default=True, help="Most runs that may wait."
)
limit_option = click.option(
    "--limit", type=click.FloatRange(1), default=600.0, show_default=True, help="Most seconds of one run."
)


@click.command(name="mcp")
@world_option
@seed_option
@click.option("--transport", type=click.Choice(["stdio", "http"]), default="stdio", show_default=True)
@host_option
@port_option
@queue_option
@limit_option
@loop_options
def mcp_command(
    world: str, seed: int, transport: str, host: str, port: int, queue: int, limit: float, **options: Any
) -> int:
    """Serve one environment to an MCP client: over stdin and stdout, or over streamable HTTP at /mcp.

    Over stdio the models are loaded while the client already talks; it acts without asking.
    """
    config = split(options)
    with extra("mcp"):
        from gedanken.tools.mcp_server import mcp_server
    with runs_in(world, seed, config, queue, limit) as runs:
        server = mcp_server(runs)
        if transport == "stdio":
            server.run("stdio")
            return REACHED
        from gedanken.tools.guard import Guard, check_address, listen

        token = os.environ.get(TOKEN)
        check_address(host, token)
        with awake(runs) as told:
            listen(Guard(server.streamable_http_app(host=host), token), host, port, lambda url: told(f"{url}/mcp"))
    return REACHED


@click.command(name="serve")
@world_option
@seed_option
@host_option
@port_option
@queue_option
@limit_option
@loop_options
def serve_command(world: str, seed: int, host: str, port: int, queue: int, limit: float, **options: Any) -> int:
    """Serve one environment over HTTP: plan, act and simulate; /openapi.json describes everything.

    It acts without asking. The address is printed on stdout as soon as it can be used.
    """
    config = split(options)
    with extra("serve"):
        from gedanken.tools.guard import Guard, check_address, listen
        from gedanken.tools.service import service

    token = os.environ.get(TOKEN)
    check_address(host, token)
    with runs_in(world, seed, config, queue, limit) as runs, awake(runs) as told:
        listen(Guard(service(runs), token), host, port, told)
    return REACHED


@contextlib.contextmanager
def extra(name: str) -> Iterator[None]:
    """Say which extra brings a package that is missing; what is printed while importing goes to stderr."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error}; install it with: pip install 'gedanken[{name}]'") from error


@contextlib.contextmanager
def runs_in(world: str, seed: int, config: LoopConfig, queue: int, limit: float) -> Iterator[Runs]:
    """Make the runs of a server in a world; they are started by the server, or by `awake`."""
    from gedanken.tools.runs import Runs

    runs = Runs(opening(world, seed, config), waiting=queue, limit=limit)
    try:
        yield runs
    finally:
        runs.close()


def opening(world: str, seed: int, config: LoopConfig) -> Callable[[], AbstractContextManager[Workplace]]:
    """Return what opens the workplace, in the thread that works there: that is when the slow imports happen."""

    def open_() -> AbstractContextManager[Workplace]:
        from gedanken.tools.work import open_workshop

        return open_workshop(world, config, seed=seed)

    return open_


@contextlib.contextmanager
def awake(runs: Runs) -> Iterator[Callable[[str], None]]:
    """Load everything before anybody is served; yield what says the address on stdout, kept free of all else.

    Raises Asleep where it can't be loaded.
    """
    click.echo("Waking up: world model, critic and language model…", err=True)
    stdout = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        runs.start()
        runs.wake()
        yield lambda url: click.echo(url, file=stdout)
