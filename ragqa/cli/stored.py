"""`ragqa eval`: commands about runs that are stored: list, show, diff, compare, export, rejudge, report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragqa.cli import completion, show, show_comparisons, show_runs
from ragqa.cli.options import Json, Runs, model_option
from ragqa.errors import UsageError

if TYPE_CHECKING:
    from ragqa.evaluate.runs import Run

Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        metavar="NAME",
        autocompletion=completion.metrics,
        help="Any name ir-measures knows, or EM, F1, Contains, ... Can be repeated.",
    ),
]
RunNames = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN",
        autocompletion=completion.runs,
        help="Numbers or names. Default: those of the last eval run.",
    ),
]


def list_runs(runs: Runs = None, json: Json = False) -> None:
    """List the stored runs.

    Example: ragqa eval list
    Example: ragqa eval list --runs runs.db --json
    """
    from ragqa.evaluate.store import RunStore

    with RunStore.open(runs) as store:
        listed = show_runs.list_json(store.infos(), store.counts(), store.question_set_names())
    if json:
        show.print_json({"runs": listed})
    else:
        show_runs.print_list(listed)


def show_run(
    run: RunNames = None,
    question: Annotated[
        str | None,
        typer.Option(
            "--question",
            "-q",
            metavar="ID",
            autocompletion=completion.questions,
            help="Show the result of this question, by its id.",
        ),
    ] = None,
    metric: Metrics = None,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Show what runs are worth, or one question's result.

    What they are worth are metrics with intervals, and the latency of each stage. Here -q is short for
    --question.

    Example: ragqa eval show
    Example: ragqa eval show fts default --metric nDCG@10
    Example: ragqa eval show 3 --question q17
    """
    from ragqa.evaluate.metrics import parse_metrics

    found = _find(runs, run)
    metrics = parse_metrics(metric) if metric else None
    if question is not None:
        results = [show_runs.result_json(one, question) for one in found]
        if json:
            show.print_json({"results": results})
        else:
            show_runs.print_results(results)
    elif json:
        show.print_json(show_runs.runs_json(found, metrics, []))
    else:
        show_runs.print_summary(found, metrics, details=True)


def diff(
    a: Annotated[
        str, typer.Argument(metavar="A", autocompletion=completion.runs, help="A run by number or name.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", autocompletion=completion.runs, help="Another one.")],
    metric: Annotated[
        str | None,
        typer.Option("--metric", metavar="NAME", autocompletion=completion.metrics, help="What is compared."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many questions to show.")] = 20,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Show what changed from one run to another, question by question.

    The greatest changes come first; of answers it is said which flipped.

    Example: ragqa eval diff fts default --metric nDCG@10
    """
    from ragqa.evaluate.comparison import changes
    from ragqa.evaluate.metrics import default_metrics, parse_metrics, values

    found = _find(runs, [a, b])
    if len(found) < 2:
        raise UsageError(f"{a} and {b} are the same run.")
    names = [one.name for one in default_metrics(found)]
    if not metric and not names:
        raise UsageError("Nothing is known of what is right for these questions, so nothing can be compared.")
    chosen = metric or names[0]
    for one in found:
        if not any(values(one, parse_metrics([chosen])).values()):
            raise UsageError(f"The run {one.label} has no question with a value of {chosen}.")
    listed = changes(found[0], found[1], chosen)
    if json:
        show.print_json(show_comparisons.diff_json(found[0], found[1], chosen, listed))
    else:
        show_comparisons.print_diff(found[0], found[1], chosen, listed, limit)


def compare(
    run: RunNames = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            metavar="RUN",
            autocompletion=completion.runs,
            help="Compare each run with this one, not all pairs.",
        ),
    ] = None,
    metric: Metrics = None,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Compare runs over the same questions, and say which differences are more than chance.

    They are compared pair by pair. Intervals are BCa bootstrap, p-values of a randomisation test, corrected
    by Holm over all pairs.

    Example: ragqa eval compare
    Example: ragqa eval compare fts dense default --metric nDCG@10
    """
    from ragqa.evaluate.comparison import compare_runs

    found = _find(runs, run)
    first = _find(runs, [baseline])[0] if baseline else None
    others = [one for one in found if first is None or one.info.id != first.info.id]
    listed = [first, *others] if first else others
    differences = compare_runs(listed, metric, first)
    show_runs.note_troubles(listed)
    if json:
        show.print_json(show_comparisons.differences_json(listed, differences))
    else:
        show_comparisons.print_differences(listed, differences)


def export(
    run: Annotated[
        str, typer.Argument(metavar="RUN", autocompletion=completion.runs, help="A run by number or name.")
    ],
    trec: Annotated[bool, typer.Option("--trec", help="The ranking as a TREC run.")] = False,
    qrels: Annotated[bool, typer.Option("--qrels", help="The judgements as TREC qrels.")] = False,
    beir: Annotated[bool, typer.Option("--beir", help="The ranking as BEIR's JSON.")] = False,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="All of the run: a baseline for eval check.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file to write instead of stdout.")
    ] = None,
    runs: Runs = None,
) -> None:
    """Write a run in a form that other tools read.

    --trec and --qrels are for trec_eval, ir-measures and ranx, --beir for BEIR, --jsonl for eval check.

    Example: ragqa eval export default --trec -o default.trec
    Example: ragqa eval export default --jsonl -o baseline.jsonl
    """
    from ragqa.evaluate import export as forms

    chosen = [
        form
        for asked, form in (
            (trec, forms.trec_run),
            (qrels, forms.trec_qrels),
            (beir, forms.beir_results),
            (jsonl, forms.json_lines),
        )
        if asked
    ]
    if len(chosen) != 1:
        raise UsageError("Name one form: --trec, --qrels, --beir or --jsonl.")
    _write(chosen[0](_find(runs, [run])[0]), output)


def rejudge(
    run: RunNames = None,
    judge: Annotated[
        str,
        model_option("Any llm model.", "--judge", "-m"),
    ] = "auto",
    rubric: Annotated[
        str | None,
        typer.Option(
            "--rubric",
            metavar="NAME",
            autocompletion=completion.rubrics,
            help="judge-absolute, judge-pairwise, or a YAML file.",
        ),
    ] = None,
    pairwise: Annotated[
        bool, typer.Option("--pairwise", help="Compare the answers of two runs, shown in both orders.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Ask for verdicts that are there, too.")] = False,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Let a model grade the stored answers, without asking the questions again.

    With --pairwise it says which of two runs answered better, shown both in either order.

    Example: ragqa eval rejudge 3 --judge gpt-4o
    Example: ragqa eval rejudge 3 4 --judge gpt-4o --pairwise
    """
    from ragqa.answer.models import find_model
    from ragqa.evaluate.judging import judge_runs
    from ragqa.evaluate.store import RunStore

    with RunStore.open(runs) as store, show.progress("Judging") as advance:
        judged = judge_runs(
            store,
            store.find(run or ()),
            find_model(judge),
            rubric,
            pairwise=pairwise,
            again=again,
            on_verdict=lambda done: advance(done, None),
        )
    if json:
        show.print_json({"judged": [show_comparisons.judged_json(one) for one in judged]})
    else:
        show_comparisons.print_judged(judged)


def report(
    run: RunNames = None,
    html: Annotated[Path, typer.Option("--html", help="The page to write.")] = Path("report.html"),
    pair: Annotated[
        list[str] | None,
        typer.Option(
            "--pair",
            metavar="RUN",
            autocompletion=completion.runs,
            help="A run to set against another; give it twice.",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric", metavar="NAME", autocompletion=completion.metrics, help="The metric to plot."
        ),
    ] = None,
    runs: Runs = None,
) -> None:
    """Write one page about runs, with plots and the most telling questions.

    It is one HTML file, which needs no network.

    Example: ragqa eval report
    Example: ragqa eval report fts dense default --html report.html
    """
    from ragqa.evaluate.report.page import report_html

    if pair and len(pair) != 2:
        raise UsageError("A pair is two runs: --pair A --pair B.")
    found = _find(runs, run)
    two = _find(runs, pair) if pair else None
    if two and len(two) < 2:
        raise UsageError("A pair is two different runs.")
    page = report_html(found, (two[0], two[1]) if two else None, metric)
    _write(iter([page]), html)
    show.note(f"Written: {html}")


def _find(runs: Path | None, names: list[str] | None) -> list[Run]:
    from ragqa.evaluate.store import RunStore

    with RunStore.open(runs) as store:
        return store.find(names or ())


def _write(lines: Iterator[str], output: Path | None) -> None:
    if output is None:
        for line in lines:
            print(line)
        return
    try:
        with output.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror or error}.") from error
