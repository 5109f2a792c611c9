"""`ragqa serve` itself: the socket, the server, and how it ends."""

from __future__ import annotations

import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from ragqa.config import load_config
from ragqa.errors import RagqaError, UsageError
from ragqa.search.one import open_corpus
from ragqa.service.warm import WarmLibrary
from ragqa.web.access import is_loopback
from ragqa.web.app import Settings, make_app

CONFIGS = ("default", "fts", "dense")


@dataclass(frozen=True, slots=True)
class Serving:
    """What is served, and where; `settings.host` is what is listened on."""

    db: Path | None = None
    configs: Sequence[str] = CONFIGS
    model: str | None = None
    port: int = 8100
    open_browser: bool = False
    settings: Settings = field(default_factory=Settings)


class Server(uvicorn.Server):
    """uvicorn, which leaves Ctrl-C to Python: an answer that streams would hold it up."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


def serve(serving: Serving, note: Callable[[str], None]) -> None:
    """Serve until Ctrl-C, which ends the process with exit code 130.

    Raises UsageError for a host that others reach without a token, and RagqaError for a port in use.
    """
    settings = serving.settings
    if not is_loopback(settings.host) and settings.token is None:
        raise UsageError(
            f"Others can reach {settings.host}: give a token with --token or $RAGQA_TOKEN, "
            "so that only those who have it are let in."
        )
    # What can be wrong with the request is said before anything is loaded.
    for name in serving.configs:
        open_corpus(load_config(name), serving.db).close()
    library = WarmLibrary(serving.db, serving.configs, serving.model, note)
    library.models.get(serving.model or library.config().model)
    app = make_app(library, settings)
    with listening(settings.host, serving.port) as opened:
        url = _url(settings.host, opened.getsockname()[1])
        note(f"Listening: {url} (Ctrl-C ends it)")
        library.start(lambda seconds: note(f"Ready after {seconds:.1f} s."))
        if serving.open_browser:
            threading.Thread(target=webbrowser.open, args=[url], daemon=True).start()
        try:
            Server(server_config(app)).run(sockets=[opened])
        except KeyboardInterrupt:
            pass
        finally:
            library.close()
    # Threads that wait for a model cannot be told to stop, and Python would wait for them.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(130)


def server_config(app: Any) -> uvicorn.Config:
    """Return how uvicorn is to serve: no log of what is asked, no trust in headers about who asks."""
    return uvicorn.Config(
        app,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=1,
    )


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens; raises RagqaError when it cannot."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, OverflowError, UnicodeError) as error:
        raise UsageError(f"There is no host {host!r} here: {error}.") from error
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(128)
    except OSError as error:
        opened.close()
        raise RagqaError(
            f"Nothing can listen on {host} port {port}: {(error.strerror or str(error)).lower()}. "
            "Another one: --port."
        ) from error
    return opened


def _url(host: str, port: int) -> str:
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    return f"http://[{shown}]:{port}/" if ":" in shown else f"http://{shown}:{port}/"
