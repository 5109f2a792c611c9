"""The application: pages and API behind the guard, and errors as sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Scope

from ragqa import __version__
from ragqa.errors import RagqaError
from ragqa.service.catalog import Catalog, NotThereError
from ragqa.service.warm import WarmLibrary
from ragqa.web import api, pages, runs
from ragqa.web.access import Access
from ragqa.web.guard import Guard, Refusal
from ragqa.web.listen import failure
from ragqa.web.rendering import render
from ragqa.web.responses import Json

PER_MINUTE = 240


@dataclass(frozen=True, slots=True)
class Settings:
    """How the server lets people in: where it listens, other `names` it has, its token, how often."""

    host: str = "127.0.0.1"
    names: tuple[str, ...] = ()
    token: str | None = None
    per_minute: int = PER_MINUTE
    runs: Path | None = None


def make_app(library: WarmLibrary, settings: Settings) -> Guard:
    """Return the ASGI application that serves `library`; raises UsageError for a token that is too short."""
    app = FastAPI(
        title="ragqa",
        version=__version__,
        description="Answers from your own documents.",
        # They would load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    access = Access(settings.token)
    app.state.library = library
    app.state.catalog = Catalog(library.db)
    app.state.access = access
    app.state.runs = settings.runs
    for router in (api.router, pages.router, runs.router):
        app.include_router(router)
    for kind in (RagqaError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _say)

    # Around everything, what goes wrong included.
    return Guard(
        app,
        host=settings.host,
        names=settings.names,
        access=access,
        per_minute=settings.per_minute,
        refuse=_refuse,
    )


def _refuse(scope: Scope, refusal: Refusal) -> Response:
    """Return the response for a request that is read no further."""
    headers = dict(refusal.headers)
    if _wants_json(scope["path"]):
        return Json({"error": refusal.text}, refusal.status, headers)
    if pages.FRAGMENT in Headers(scope=scope):
        return Response(refusal.text, refusal.status, headers, pages.PLAIN)
    if refusal.status == 401:
        return RedirectResponse("/login", 303)
    return HTMLResponse(render("refused.html", text=refusal.text), refusal.status, headers)


def _say(request: Request, error: Exception) -> Response:
    """Return the sentence for an error: as JSON to a program, as a page to a person."""
    text, status = _sentence(error)
    if _wants_json(request.url.path):
        return Json({"error": text}, status)
    return pages.error_page(request, text, status)


def _sentence(error: Exception) -> tuple[str, int]:
    if isinstance(error, RequestValidationError):
        return _first_problem(error.errors()), 400
    if isinstance(error, HTTPException):
        return f"{error.detail}.", error.status_code
    if isinstance(error, NotThereError):
        return str(error), 404
    failed = failure(error)
    return failed.text, failed.status


def _first_problem(problems: Sequence[Any]) -> str:
    problem = problems[0]
    if problem["type"] == "json_invalid":
        return "The request is not valid JSON."
    key = ".".join(str(part) for part in problem["loc"][1:])
    return f"{key or 'The request'}: {problem['msg'][:1].lower()}{problem['msg'][1:]}."


def _wants_json(path: str) -> bool:
    return path.startswith("/api/") or path == "/openapi.json"
