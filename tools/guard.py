"""What stands between a network and a server: address, token, Host header, size and time of a body. Knows no agent."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import socket
from collections.abc import Callable

import uvicorn
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gedanken.tools.refusals import RETRY_AFTER, Refused

SHORTEST_TOKEN = 16
LARGEST_BODY = 64 * 1024
"""Bytes of a request's body."""

BODY_SECONDS = 10.0
"""Time in which a body has to arrive."""

KEPT_ALIVE = 2 * RETRY_AFTER
"""Seconds that a connection may be idle: longer than callers are told to wait, who come back on it."""

CONNECTIONS = 256
"""Requests at a time; further ones are answered with 503."""


def loopback(host: str) -> bool:
    """Tell whether an address or a Host header names this machine only."""
    name = host.removeprefix("[").partition("]")[0] if host.startswith("[") else host
    if not host.startswith("[") and host.count(":") == 1:
        name = host.partition(":")[0]
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def check_address(host: str, token: str | None) -> None:
    """Raise Refused for a weak token, and for an address that others can reach where there is no token."""
    if token is not None and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
        raise Refused(f"GEDANKEN_TOKEN must be at least {SHORTEST_TOKEN} printable ASCII characters")
    if token is None and not loopback(host):
        raise Refused(
            f"{host} can be reached by others: set GEDANKEN_TOKEN to a secret that callers have to send, or take"
            " --host 127.0.0.1"
        )


class Guard:
    """Lets a request through to an app when it may be heard; everything else it answers itself.

    With a token every request has to carry it. Without one the Host header has to name this machine, so that no web
    page can reach the server under a name of its own.
    """

    def __init__(self, app: ASGIApp, token: str | None = None) -> None:
        self._app, self._token = app, None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"this server does not speak {scope['type']}")
        refusal = self._refusal(Headers(scope=scope))
        if refusal is None:
            try:
                async with asyncio.timeout(BODY_SECONDS):
                    body = await _body(receive)
            except TimeoutError:
                refusal = _no(408, f"the body did not arrive within {BODY_SECONDS:.0f} s")
            else:
                if body is None:
                    refusal = _no(413, f"the body is larger than {LARGEST_BODY} bytes; send less")
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._app(scope, _again(body or b"", receive), send)

    def _refusal(self, headers: Headers) -> JSONResponse | None:
        if self._token is None:
            if loopback(headers.get("host", "")):
                return None
            return _no(421, "without a token this server answers to localhost and 127.0.0.1 only")
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self._token):
            return None
        return _no(401, "send the server's token as `Authorization: Bearer …`", {"WWW-Authenticate": "Bearer"})


def listen(app: ASGIApp, host: str, port: int, told: Callable[[str], None]) -> None:
    """Serve an app until a signal ends it; `told` gets the address. Raises Refused where the port can't be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        wire = socket.create_server((host, port), family=family)
    except OSError as error:
        raise Refused(f"can't listen on {host}, port {port} ({error.strerror}); choose another --port") from error
    with wire:
        name = f"[{host}]" if ":" in host else host
        told(f"http://{name}:{wire.getsockname()[1]}")
        server(app).run(sockets=[wire])


def server(app: ASGIApp) -> uvicorn.Server:
    """Return a server that logs no requests and says nothing on stdout."""
    config = uvicorn.Config(
        app,
        ws="none",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=KEPT_ALIVE,
        timeout_graceful_shutdown=3,
    )
    return uvicorn.Server(config)


def _no(status: int, why: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return an answer after which nothing more is read: what is left of the body is of no use."""
    return JSONResponse({"detail": why}, status, {"Connection": "close", **(headers or {})})


async def _body(receive: Receive) -> bytes | None:
    """Return a request's body, or None for one that is too large; that is read, too, so that its sender hears of it."""
    body, size = bytearray(), 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if size <= LARGEST_BODY:
            body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body) if size <= LARGEST_BODY else None


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that begins with a body already read."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return first.pop() if first else await receive()

    return replay
