"""The JSON API. Blocking calls run in threads of the server; an answer streams from a thread of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial
from typing import Any, Literal

import anyio.to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response

from ragqa.answer.events import Done, Found, Given, Said, Text
from ragqa.service import forms
from ragqa.service.catalog import Catalog
from ragqa.service.events import Note
from ragqa.service.library import Asked
from ragqa.service.warm import WarmLibrary
from ragqa.web import schemas
from ragqa.web.listen import Failed, Heard, failure, listen
from ragqa.web.responses import STILL_HERE, EventStream, Json, server_sent, while_there

STREAM = (
    "Server-sent events: note (why nothing happens yet), search (the search form), text (a piece of the "
    "answer), sentence (a whole one with its check), then done (the answer form) or error. With Accept: "
    "application/json the answer form alone."
)
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.ErrorForm} for status in (400, 401, 404, 413, 415, 429, 500, 503)
}

router = APIRouter(prefix="/api", responses=ERRORS)


def library_of(request: Request) -> WarmLibrary:
    found: WarmLibrary = request.app.state.library
    return found


def catalog_of(request: Request) -> Catalog:
    found: Catalog = request.app.state.catalog
    return found


@router.post(
    "/ask",
    response_model=None,
    responses={200: {"model": schemas.AnswerForm, "content": {"text/event-stream": {}}}},
    description=STREAM,
)
async def ask(request: Request, body: schemas.AskRequest) -> Response:
    """Answer a question from the documents."""
    library = library_of(request)
    # What is wrong with the request has a status of its own, which a stream has not.
    asked = await anyio.to_thread.run_sync(library.check, Asked(body.question, body.config, body.model))
    heard = listen(partial(library.ask, asked))
    accepted = request.headers.get("accept", "")
    if "application/json" in accepted and "text/event-stream" not in accepted:
        return await while_there(request, partial(_answer, heard)) or Response(status_code=499)
    return EventStream(_stream(heard))


@router.post("/search", response_model=None, responses={200: {"model": schemas.SearchForm}})
def search(request: Request, body: schemas.SearchRequest) -> Response:
    """Return the passages that match a question best."""
    return Json(forms.search_json(library_of(request).search(body.question, body.k, body.config)))


@router.post("/explain", response_model=None, responses={200: {"model": schemas.ExplanationForm}})
def explain(request: Request, body: schemas.ExplainRequest) -> Response:
    """Return which words of each passage matched which words of the question."""
    found = library_of(request).explain(body.question, body.k or 3, body.config, body.document)
    return Json(forms.explanation_json(found))


@router.get("/status", response_model=None, responses={200: {"model": schemas.StatusForm}})
def status(request: Request) -> Response:
    """Say what the corpus holds, what is stale, and whether the models are loaded."""
    return Json(status_form(library_of(request), catalog_of(request)))


@router.get(
    "/document/{document_id:path}", response_model=None, responses={200: {"model": schemas.DocumentForm}}
)
def document(request: Request, document_id: str) -> Response:
    """Return a document, and where its passages are in it."""
    found, passages = catalog_of(request).document(document_id)
    return Json(
        {
            "document_id": found.id,
            "title": found.title,
            "source": found.source,
            "metadata": dict(found.metadata),
            "format": found.format,
            "text": found.text,
            "passages": [
                {
                    "passage_id": passage.id,
                    "start": passage.start,
                    "end": passage.end,
                    "headings": list(passage.headings),
                }
                for passage in passages.items
            ],
        }
    )


def status_form(library: WarmLibrary, catalog: Catalog) -> dict[str, Any]:
    """Return the form of `status --json`, and how the server is."""
    return {
        "ready": library.ready,
        "model": library.model,
        "configs": library.states(),
        **catalog.status(),
    }


def event_json(
    event: Heard,
) -> tuple[Literal["note", "search", "text", "sentence", "done", "error"], Any]:
    """Return the name and the data of an event; events that only the pages show have none."""
    match event:
        case Note(text):
            return "note", {"note": text}
        case Found(result):
            return "search", forms.search_json(result)
        case Text(piece):
            return "text", {"text": piece}
        case Said(piece, check):
            return "sentence", {"text": piece, "check": check and forms.sentence_json(check)}
        case Done(answer):
            return "done", forms.answer_json(answer)
        case Failed(text, _):
            return "error", {"error": text}
    raise TypeError(event)


async def _stream(heard: AsyncGenerator[Heard | None, None]) -> AsyncGenerator[bytes, None]:
    try:
        async for event in heard:
            if event is None:
                yield STILL_HERE
            elif not isinstance(event, Given):
                yield server_sent(*event_json(event))
    except Exception as error:
        # The response has begun, so that this is all that can be said.
        yield server_sent(*event_json(failure(error)))
    finally:
        await heard.aclose()


async def _answer(heard: AsyncGenerator[Heard | None, None]) -> Response:
    try:
        async for event in heard:
            if isinstance(event, Done):
                return Json(forms.answer_json(event.answer))
            if isinstance(event, Failed):
                return Json({"error": event.text}, status_code=event.status)
    finally:
        await heard.aclose()
    return Response(status_code=499)
