"""What every request goes through before anything is done for it, and every response on its way out."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragqa.web.access import Access, RateLimit, host_name, is_address

MOST_BODY = 64_000
BODY_S = 10.0
# Wrong tokens a minute and address.
GUESSES = 10
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
WILDCARDS = ("0.0.0.0", "::", "")
OPEN_PATHS = ("/login", "/static/")

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not no-referrer, with which browsers hide the origin of the server's own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served: the HTTP status, a sentence, and headers that go with it."""

    status: int
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)


# From a request and the reason why it is refused to the response that says so.
Refuse = Callable[[Scope, Refusal], Response]


class Guard:
    """ASGI middleware: checks host, rate, origin, content type, token and size, in this order.

    `host` is what the server listens on. On all addresses at once any address will do as a Host, as only a
    name can be bound to another address behind a browser's back; `names` are allowed besides.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        names: tuple[str, ...],
        access: Access,
        per_minute: int,
        refuse: Refuse,
    ) -> None:
        self._app = app
        self._hosts = {*LOCAL_NAMES, host.lower(), *(name.lower() for name in names)} - set(WILDCARDS)
        self._any_address = host in WILDCARDS
        if self._any_address:
            self._hosts.add(socket.gethostname().lower())
        self._access = access
        self._limit = RateLimit(per_minute)
        self._guesses = RateLimit(GUESSES)
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal, receive = await self._check(scope, receive)
        app: ASGIApp = self._app if refusal is None else self._refuse(scope, refusal)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                self._count_guess(scope, message["status"])
            await send(message)

        await app(scope, receive, with_headers)

    async def _check(self, scope: Scope, receive: Receive) -> tuple[Refusal | None, Receive]:
        headers = Headers(scope=scope)
        writes = scope["method"] not in ("GET", "HEAD", "OPTIONS")
        refusal = self._check_host(headers) or self._check_rate(scope, headers)
        if refusal is None and writes:
            refusal = check_origin(headers) or check_type(scope["path"], headers)
        refusal = refusal or self._check_token(scope, headers)
        return await _read(headers, receive) if writes and refusal is None else (refusal, receive)

    def _check_host(self, headers: Headers) -> Refusal | None:
        name = host_name(headers.get("host", ""))
        if name in self._hosts or (self._any_address and is_address(name)):
            return None
        return Refusal(
            400, "This address is not known here: ragqa serve --allow-host NAME lets another name in."
        )

    def _check_rate(self, scope: Scope, headers: Headers) -> Refusal | None:
        if scope["path"].startswith("/static/"):
            return None
        address = _address(scope)
        wait = self._limit.take(address)
        # Not even the right token comes in then: whoever guesses would learn that it was right.
        if not wait and _is_guess(scope, headers) and self._guesses.exhausted(address):
            wait = 60 // GUESSES
        if not wait:
            return None
        return Refusal(429, f"Too many requests: try again in {wait} seconds.", {"retry-after": str(wait)})

    def _check_token(self, scope: Scope, headers: Headers) -> Refusal | None:
        if scope["path"].startswith(OPEN_PATHS) or self._access.admits(headers):
            return None
        return Refusal(401, "This needs the token of this server.", {"www-authenticate": "Bearer"})

    def _count_guess(self, scope: Scope, status: int) -> None:
        if status == 401 and _is_guess(scope, Headers(scope=scope)):
            self._guesses.take(_address(scope))


def _is_guess(scope: Scope, headers: Headers) -> bool:
    """Tell whether a request brings a token. The cookie is nothing that could be guessed."""
    return "authorization" in headers or (scope["path"] == "/login" and scope["method"] == "POST")


def check_origin(headers: Headers) -> Refusal | None:
    """Refuse what another site had a browser send. A program sends none of these headers."""
    site = headers.get("sec-fetch-site", "same-origin")
    origin = headers.get("origin")
    host = headers.get("host", "")
    if site in ("same-origin", "none") and (
        origin is None or origin in (f"http://{host}", f"https://{host}")
    ):
        return None
    return Refusal(403, "Another site may not send this.")


def check_type(path: str, headers: Headers) -> Refusal | None:
    """Refuse a body that is not of the one type that is read here."""
    wanted = "application/json" if path.startswith("/api/") else "application/x-www-form-urlencoded"
    given = headers.get("content-type", "").partition(";")[0].strip().lower()
    return None if given == wanted else Refusal(415, f"The Content-Type must be {wanted}.")


async def _read(headers: Headers, receive: Receive) -> tuple[Refusal | None, Receive]:
    """Read the body, and return what gives it again; a Refusal where it is too long or too slow."""
    too_long = Refusal(413, f"The request is longer than {MOST_BODY:,} bytes.")
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > MOST_BODY:
        return too_long, receive
    body = b""
    with anyio.move_on_after(BODY_S) as scope:
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message["type"] == "http.request" and message.get("more_body", False)
            if len(body) > MOST_BODY:
                return too_long, receive
    if scope.cancelled_caught:
        return Refusal(408, f"The request did not arrive within {BODY_S:.0f} seconds."), receive
    return None, _again(body, receive)


def _again(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""
