"""The pages of stored evaluation runs: the list, and the report as `ragqa eval report` writes it."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from ragqa.errors import UsageError
from ragqa.evaluate.report.page import report_html
from ragqa.evaluate.store import RunStore
from ragqa.web.pages import page_of

# The report is a page of its own, without any script. Its plots carry their styles with them.
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
MOST_RUNS = 8
BACK = '<p><a href="/runs">← Evaluation runs</a></p>'

router = APIRouter(include_in_schema=False)
# matplotlib draws for one thread at a time.
_drawing = threading.Lock()


@router.get("/runs")
def runs(request: Request) -> Response:
    """List the stored runs, newest first."""
    try:
        with RunStore.open(request.app.state.runs) as store:
            infos, counts = store.infos(), store.counts()
            names = store.question_set_names()
    except UsageError as error:
        return page_of(request, "runs.html", listed=[], none=str(error), most=MOST_RUNS)
    listed: list[dict[str, Any]] = [
        {"info": info, "counts": counts[info.id], "questions": names[info.key.question_set]}
        for info in reversed(infos)
    ]
    return page_of(request, "runs.html", listed=listed, none="", most=MOST_RUNS)


@router.get("/runs/report")
def report(request: Request) -> Response:
    """Show the report on the runs that were chosen, or on those of the last command."""
    names = tuple(dict.fromkeys(request.query_params.getlist("run")))
    if len(names) > MOST_RUNS:
        raise UsageError(f"{len(names)} runs are too many for one report: at most {MOST_RUNS}.")
    with RunStore.open(request.app.state.runs) as store:
        found = store.find(names)
        # Results may be added to a run, and grades to its answers.
        state = tuple((run.info.id, len(run.results), len(run.failed), str(run.grades)) for run in found)
        path = store.path
    with _drawing:
        html = _report(path, names, state)
    return HTMLResponse(html, headers={"content-security-policy": REPORT_POLICY})


@lru_cache(maxsize=8)
def _report(path: Path, names: tuple[str, ...], state: object) -> str:
    with RunStore.open(path) as store:
        page = report_html(store.find(names))
    return page.replace("<body>", f"<body>{BACK}", 1)
