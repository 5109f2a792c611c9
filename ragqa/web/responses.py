"""Responses: JSON that is safe to print, server-sent events, and the wait for whoever hung up."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ragqa.safety.untrusted import to_json

_Result = TypeVar("_Result")


class Json(Response):
    """A JSON object in which nothing acts on a terminal."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return to_json(content).encode("utf-8")


def server_sent(name: str, value: Any) -> bytes:
    """Return one server-sent event; its data is one line of JSON.

    The form is that of https://html.spec.whatwg.org/multipage/server-sent-events.html.
    """
    return f"event: {name}\ndata: {to_json(value)}\n\n".encode()


# A comment, which no listener sees, says that the line still stands.
STILL_HERE = b": still here\n\n"


class EventStream(Response):
    """Server-sent events as they come. Once nobody listens, `pieces` is closed, also between two of them."""

    media_type = "text/event-stream"

    def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
        self._pieces = pieces
        super().__init__(headers={"x-accel-buffering": "no"})
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def stream() -> None:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            async with aclosing(self._pieces) as pieces:
                async for piece in pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        await _unless_gone(receive, stream)


async def while_there(request: Request, work: Callable[[], Awaitable[_Result]]) -> _Result | None:
    """Return what `work` returns, or None once whoever asked has hung up: it is cancelled then."""
    return await _unless_gone(request.receive, work)


async def _unless_gone(receive: Receive, work: Callable[[], Awaitable[_Result]]) -> _Result | None:
    result: _Result | None = None
    failed: Exception | None = None
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        group.start_soon(watch)
        try:
            result = await work()
        except Exception as error:
            # Out of the group it goes as it is.
            failed = error
        group.cancel_scope.cancel()
    if failed is not None:
        raise failed
    return result
