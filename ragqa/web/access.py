"""Who may come in: the token and the cookie that stands for it, and how often an address may ask."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from ragqa.errors import UsageError

COOKIE = "ragqa_session"
SHORTEST_TOKEN = 16
SESSION_S = 30 * 24 * 3600
# Addresses that are remembered before all of them are forgotten that have been quiet.
MOST_ADDRESSES = 10_000


class Access:
    """Checks the token, in constant time; without a token everybody may come in.

    The cookie holds a digest of the token, so that nobody who sees it learns the token.
    """

    def __init__(self, token: str | None) -> None:
        if token is not None and len(token) < SHORTEST_TOKEN:
            raise UsageError(
                f"The token is too short to keep anybody out: at least {SHORTEST_TOKEN} characters, such as "
                "those of python -c 'import secrets; print(secrets.token_urlsafe())'."
            )
        self._token = None if token is None else token.encode("utf-8", "surrogateescape")

    @property
    def needed(self) -> bool:
        return self._token is not None

    def admits(self, headers: Headers) -> bool:
        """Tell whether a request brings the token, or the cookie of somebody who brought it before."""
        if self._token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(given.strip().encode("latin-1")):
            return True
        return hmac.compare_digest(_cookie(headers.get("cookie", "")).encode(), self._session().encode())

    def is_token(self, given: bytes) -> bool:
        return self._token is not None and hmac.compare_digest(given, self._token)

    def cookie(self, *, secure: bool) -> str:
        """Return the Set-Cookie header of somebody who brought the token."""
        return _set_cookie(self._session(), SESSION_S, secure)

    def no_cookie(self) -> str:
        """Return the Set-Cookie header that ends a session."""
        return _set_cookie("", 0, False)

    def _session(self) -> str:
        return hmac.new(self._token or b"", b"ragqa session", hashlib.sha256).hexdigest()


class RateLimit:
    """Lets each address have `per_minute` requests a minute, and as many at once after a quiet minute."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, address: str) -> int:
        """Count a request; return 0 when it may be served, else how many seconds to wait."""
        left, now = self._at(address)
        if left < 1:
            return max(1, math.ceil((1 - left) * 60 / self._per_minute))
        if len(self._left) >= MOST_ADDRESSES:
            self._forget(now)
        self._left[address] = left - 1, now
        return 0

    def exhausted(self, address: str) -> bool:
        """Tell, counting nothing, whether the next request would have to wait."""
        return self._at(address)[0] < 1

    def _at(self, address: str) -> tuple[float, float]:
        now = self._clock()
        left, since = self._left.get(address, (float(self._per_minute), now))
        return min(self._per_minute, left + (now - since) * self._per_minute / 60), now

    def _forget(self, now: float) -> None:
        self._left = {address: known for address, known in self._left.items() if now - known[1] < 60}


def is_loopback(host: str) -> bool:
    """Tell whether a server at `host` can be reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def host_name(header: str) -> str:
    """Return the name or address in a Host header, without port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def _cookie(header: str) -> str:
    # As browsers do, cookie by cookie: an odd one of another program on this host spoils no other.
    return cookie_parser(header).get(COOKIE, "")


def _set_cookie(value: str, seconds: int, secure: bool) -> str:
    end = "; Secure" if secure else ""
    return f"{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{end}"
