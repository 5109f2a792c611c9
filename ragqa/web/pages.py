"""The pages: rendered here, with the whole answer where a browser runs no script."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import anyio
import anyio.to_thread
from fastapi import APIRouter, Request
from markupsafe import Markup
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from ragqa.explain.page import asset, explanation_fragment
from ragqa.service import originals
from ragqa.service.catalog import NotThereError
from ragqa.service.library import Asked
from ragqa.service.models import ready_models
from ragqa.web.api import catalog_of, library_of, status_form
from ragqa.web.listen import Heard, failure, listen
from ragqa.web.rendering import own_file, render
from ragqa.web.responses import STILL_HERE, EventStream, server_sent, while_there
from ragqa.web.views import AnswerView

PLAIN = "text/plain; charset=utf-8"
SCRIPT, STYLE = "text/javascript; charset=utf-8", "text/css; charset=utf-8"
STATIC = {
    "app.js": (partial(own_file, "static/app.js"), SCRIPT),
    "app.css": (partial(own_file, "static/app.css"), STYLE),
    "icon.svg": (partial(own_file, "static/icon.svg"), "image/svg+xml"),
    "shading.js": (partial(asset, "page.js"), SCRIPT),
    "shading.css": (partial(asset, "shading.css"), STYLE),
}
FRAGMENT = "x-fragment"
FIELDS = ("question", "config", "model", "compare", "config2", "model2")

router = APIRouter(include_in_schema=False)


@router.get("/static/{name}")
def static(name: str) -> Response:
    if name not in STATIC:
        raise NotThereError(f"There is no file {name!r}.")
    read, kind = STATIC[name]
    return Response(read(), media_type=kind, headers={"cache-control": "no-cache"})


@router.get("/")
def home(request: Request) -> Response:
    return _ask_page(request, {}, [])


@router.post("/")
async def ask_without_script(request: Request) -> Response:
    """Answer with a whole page, both answers of a comparison side by side."""
    form = await _form(request)
    columns = await anyio.to_thread.run_sync(_columns, request, form)
    views = [AnswerView(asked) for asked in columns]

    async def answer(view: AnswerView) -> None:
        heard = listen(partial(library_of(request).ask, view.asked))
        try:
            async for event in heard:
                if event is not None:
                    view.take(event)
        finally:
            await heard.aclose()

    async def answer_all() -> bool:
        async with anyio.create_task_group() as group:
            for view in views:
                group.start_soon(answer, view)
        return True

    if not await while_there(request, answer_all):
        return Response(status_code=499)
    return await anyio.to_thread.run_sync(_ask_page, request, form, views)


@router.post("/ask")
async def ask(request: Request) -> Response:
    """Stream one answer as pieces of HTML: what the script of the page puts in."""
    form = await _form(request)
    wanted = Asked(form.get("question", ""), form.get("config", ""), form.get("model", ""))
    library = library_of(request)
    asked = await anyio.to_thread.run_sync(library.check, wanted)
    return EventStream(_stream(asked, listen(partial(library.ask, asked))))


@router.get("/passage")
def passage(request: Request, question: str, config: str = "", number: int | None = None) -> Response:
    """Show passages of one document with the words of the question shaded."""
    ids = request.query_params.getlist("id")
    explanation = library_of(request).explain_passages(question, config, ids)
    first = explanation.hits[0].hit.passage
    shown: dict[str, Any] = {
        "number": number,
        "passage": first,
        "has_page": originals.has_page(first),
        "shading": Markup(explanation_fragment(explanation)),
    }
    if FRAGMENT in request.headers:
        return HTMLResponse(render("passage.html", **shown))
    return page_of(request, "passage-page.html", **shown)


@router.get("/page.png")
def page_picture(request: Request, id: str) -> Response:
    """Draw the page of a PDF that a passage stands on, the passage marked."""
    return Response(originals.page_picture(library_of(request).db, id), media_type="image/png")


@router.get("/pdf")
def pdf(request: Request, id: str) -> Response:
    """Give out the PDF that a passage was read from; the browser opens it at the page after the #."""
    path, _ = originals.original(library_of(request).db, id)
    return FileResponse(path, media_type="application/pdf", content_disposition_type="inline")


@router.get("/corpus")
def corpus(request: Request, q: str = "", page: int = 1) -> Response:
    catalog = catalog_of(request)
    status = status_form(library_of(request), catalog)
    return page_of(request, "corpus.html", status=status, listed=catalog.documents(q, page), text=q)


@router.get("/document")
def document(request: Request, id: str, page: int = 1) -> Response:
    found, listed = catalog_of(request).document(id, page)
    return page_of(request, "document.html", document=found, listed=listed)


@router.get("/login")
def login_form(request: Request) -> Response:
    return HTMLResponse(render("login.html", error=""))


@router.post("/login")
async def login(request: Request) -> Response:
    access = request.app.state.access
    form = await _form(request)
    if not access.is_token(form.get("token", "").strip().encode("utf-8", "surrogateescape")):
        return HTMLResponse(render("login.html", error="That is not the token of this server."), 401)
    response = RedirectResponse("/", 303)
    response.headers["set-cookie"] = access.cookie(secure=request.url.scheme == "https")
    return response


@router.post("/logout")
def logout(request: Request) -> Response:
    response = RedirectResponse("/login", 303)
    response.headers["set-cookie"] = request.app.state.access.no_cookie()
    return response


async def _stream(asked: Asked, heard: AsyncGenerator[Heard | None, None]) -> AsyncGenerator[bytes, None]:
    view = AnswerView(asked)
    try:
        async for event in heard:
            if event is None:
                yield STILL_HERE
                continue
            for name, value in view.take(event):
                yield server_sent(name, value)
    except Exception as error:
        # The response has begun, so that this is all that can be said.
        yield server_sent("error", {"text": failure(error).text})
    finally:
        await heard.aclose()


def _columns(request: Request, form: dict[str, str]) -> list[Asked]:
    """Return what the form asks: one question, or the same one by two configs or models."""
    library = library_of(request)
    question = form.get("question", "")
    columns = [Asked(question, form.get("config", ""), form.get("model", ""))]
    if form.get("compare"):
        columns.append(Asked(question, form.get("config2", ""), form.get("model2", "")))
    return [library.check(asked) for asked in columns]


def _ask_page(request: Request, form: dict[str, str], views: list[AnswerView]) -> Response:
    library = library_of(request)
    models = [model["model"] for model in ready_models()]
    return page_of(
        request,
        "ask.html",
        form=dict.fromkeys(FIELDS, "") | form,
        views=views,
        configs=library.configs,
        models=models,
        own_model=library.model,
        longest=max(library.config(name).limits.question for name in library.configs),
    )


def page_of(request: Request, template: str, code: int = 200, **values: Any) -> Response:
    """Return a page of the server; values are those of its template."""
    html = render(template, ready=library_of(request).ready, login=request.app.state.access.needed, **values)
    return HTMLResponse(html, code)


def error_page(request: Request, text: str, status: int) -> Response:
    """Return a page that says what went wrong; to the script of a page, the sentence alone."""
    if FRAGMENT in request.headers:
        return Response(text, status, media_type=PLAIN)
    return page_of(request, "error.html", status, text=text)


async def _form(request: Request) -> dict[str, str]:
    """Return the fields of a form, the first value of each."""
    body = (await request.body()).decode("utf-8", "replace")
    return {name: values[0] for name, values in parse_qs(body, max_num_fields=20, errors="replace").items()}
