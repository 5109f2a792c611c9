"""`ragqa eval`: commands that ask whole question sets: run, check, tune."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragqa.cli import completion, show, show_comparisons, show_runs
from ragqa.cli.corpus import Address, Engine, WorkerCores, build
from ragqa.cli.options import (
    Db,
    Device,
    Json,
    ModelOptions,
    Runs,
    Seed,
    Where,
    config_option,
    model_option,
    model_options,
)
from ragqa.cli.question import open_pipelines
from ragqa.cli.stored import Metrics
from ragqa.errors import UsageError

if TYPE_CHECKING:
    from ragqa.cluster.ray_cluster import Cluster
    from ragqa.evaluate.judging import Judged
    from ragqa.evaluate.matrix import Progress
    from ragqa.evaluate.metrics import Metric
    from ragqa.evaluate.plan import Plan
    from ragqa.evaluate.questions import QuestionSet
    from ragqa.evaluate.runs import Run
    from ragqa.evaluate.store import RunStore
    from ragqa.evaluate.tune import Tuned, TuneSettings
    from ragqa.pipeline import Pipeline

CONFIGS = ("fts", "dense", "hybrid", "fts-colbert", "hybrid-colbert", "default")

Questions = Annotated[
    list[Path],
    typer.Argument(
        metavar="QUESTIONS", help="JSON lines, CSV, a BEIR folder, TREC topics or id-tab-question lines."
    ),
]
Qrels = Annotated[Path | None, typer.Option("--qrels", help="Judgements, TREC's or BEIR's, in a file.")]
Binary = Annotated[bool, typer.Option("--binary", help="Count every grade above 0 as 1.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only the first N questions.")]
Sample = Annotated[int | None, typer.Option("--sample", min=1, help="Only N questions, drawn with --seed.")]
Workers = Annotated[
    int, typer.Option("--workers", min=1, max=64, help="Calls of a remote model at the same time.")
]
Timeout = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds that a remote model may take.")]
Tries = Annotated[
    int, typer.Option("--tries", min=1, help="Times that a remote model is called, if need be.")
]
RetrievalOnly = Annotated[
    bool, typer.Option("--retrieval-only", help="Ask no model: measure only what is found.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the same command's stopped run; retry what failed.")
]
Judge = Annotated[str | None, model_option("Let this llm model grade the answers.", "--judge")]


def run(
    questions: Questions,
    config: Annotated[
        list[str] | None,
        config_option(f"A config or a path to one. Can be repeated. Default: {', '.join(CONFIGS)}."),
    ] = None,
    model: Annotated[
        list[str] | None,
        model_option("Who answers. Can be repeated. Default: the config's own."),
    ] = None,
    option: ModelOptions = None,
    retrieval_only: RetrievalOnly = False,
    qrels: Qrels = None,
    binary: Binary = False,
    limit: Limit = None,
    sample: Sample = None,
    seed: Seed = 0,
    workers: Workers = 4,
    timeout: Timeout = 120.0,
    tries: Tries = 6,
    resume: Resume = False,
    judge: Judge = None,
    metric: Metrics = None,
    engine: Engine = "local",
    address: Address = None,
    worker_cores: WorkerCores = None,
    where: Where = None,
    db: Db = None,
    runs: Runs = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Ask every config and model a question set, keep all of it, and show what each is worth.

    What a config searches is indexed first. Every result is on disk as soon as it is there. With
    --engine ray, workers index and search, one on each GPU or machine, and every machine must be able to
    read the corpus at the same path; models are asked, and runs kept, by this process.

    Example: ragqa eval run questions.jsonl --retrieval-only
    Example: ragqa eval run questions.jsonl -c fts -c default -m extractive -m gpt-4o-mini
    Example: ragqa eval run beir/scifact --retrieval-only --sample 50 --metric nDCG@10
    """
    from ragqa.cluster.ray_cluster import open_cluster
    from ragqa.evaluate.calls import Retries
    from ragqa.evaluate.metrics import parse_metrics
    from ragqa.evaluate.plan import Plan
    from ragqa.evaluate.store import RunStore

    metrics = parse_metrics(metric) if metric else None
    plan = Plan(
        question_set=_load(questions, qrels, binary).sample(sample, seed, limit),
        models=list(dict.fromkeys(model)) if model else [None],
        answers=not retrieval_only,
        options=model_options(option) or {},
        workers=workers,
        retries=Retries(tries, timeout),
        resume=resume,
    )
    if judge and retrieval_only:
        raise UsageError("There is nothing to judge without answers: leave out --retrieval-only or --judge.")
    names = list(dict.fromkeys(config or CONFIGS))
    with (
        open_cluster(engine, address, worker_cores) as cluster,
        open_pipelines(names, db, device, where) as pipelines,
        RunStore.open(runs, create=True) as store,
    ):
        # A wrong name is to be noticed before hours of indexing and asking.
        _check_models(pipelines, plan, judge)
        _index(pipelines, cluster)
        _report(store, _run(pipelines, plan, store, cluster), judge, metrics, json)


def _report(
    store: RunStore, finished: list[Run], judge: str | None, metrics: Sequence[Metric] | None, json: bool
) -> None:
    """Have runs judged, where that is wanted, and print what they are worth."""
    judged: list[Judged] = []
    if judge:
        judged = _judge(store, finished, judge)
        finished = store.find([str(one.info.id) for one in finished])
    if json:
        show.print_json(show_runs.runs_json(finished, metrics, judged))
    else:
        show_runs.print_summary(finished, metrics)
        show_comparisons.print_judged(judged)


def check(
    questions: Questions,
    baseline: Annotated[
        str,
        typer.Option(
            "--baseline",
            metavar="RUN",
            autocompletion=completion.runs,
            help="A run by number or name, or a file of eval export --jsonl.",
        ),
    ],
    config: Annotated[
        str | None,
        config_option("What to check. Default: the baseline's, by its name."),
    ] = None,
    model: Annotated[
        str | None,
        model_option("Who answers. Default: the baseline's model."),
    ] = None,
    qrels: Qrels = None,
    binary: Binary = False,
    workers: Workers = 4,
    timeout: Timeout = 120.0,
    tries: Tries = 6,
    metric: Metrics = None,
    db: Db = None,
    runs: Runs = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Compare what there is now with a baseline, for continuous integration.

    Exits with 1 on a significant loss on any metric, with 2 when nothing is indexed or the questions
    do not fit the corpus or the baseline.

    Example: ragqa eval check questions.jsonl --baseline default
    Example: ragqa eval check questions.jsonl --baseline baseline.jsonl --metric nDCG@10
    """
    from ragqa.evaluate.calls import Retries
    from ragqa.evaluate.gate import check_indexed, judge_run, needs_answers
    from ragqa.evaluate.metrics import parse_metrics
    from ragqa.evaluate.plan import Plan
    from ragqa.evaluate.store import RunStore

    parse_metrics(metric or [])
    before = _baseline(runs, baseline)
    asked = _load(questions, qrels, binary)
    with RunStore.open(runs, create=True) as store:
        answers = before.answers and (needs_answers(metric) if metric else True)
        plan = Plan(
            question_set=asked,
            models=[model or before.info.key.model],
            answers=answers,
            workers=workers,
            retries=Retries(tries, timeout),
        )
        with open_pipelines([config or before.info.config_name], db, device) as pipelines:
            check_indexed(pipelines[0])
            (now,) = _run(pipelines, plan, store)
        gate = judge_run(before, now, metric or [])
    if json:
        show.print_json(show_comparisons.gate_json(before, now, gate))
    else:
        show_comparisons.print_gate(before, now, gate)
    if gate.losses:
        raise typer.Exit(1)


def tune(
    questions: Questions,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the best config is written.")],
    metric: Annotated[
        str,
        typer.Option(
            "--metric", metavar="NAME", autocompletion=completion.metrics, help="A retrieval metric."
        ),
    ] = "nDCG@10",
    budget: Annotated[int, typer.Option("--budget", min=1, help="How many configs to try.")] = 50,
    held_back: Annotated[
        float, typer.Option("--held-back", min=0.1, max=0.9, help="Share of questions kept from the search.")
    ] = 0.4,
    chunk: Annotated[
        list[int] | None,
        typer.Option("--chunk", min=16, max=480, help="A passage size to try, in tokens. Can be repeated."),
    ] = None,
    baseline: Annotated[
        str,
        typer.Option(
            "--baseline", metavar="NAME", autocompletion=completion.configs, help="The config to beat."
        ),
    ] = "default",
    qrels: Qrels = None,
    binary: Binary = False,
    seed: Seed = 0,
    db: Db = None,
    device: Device = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Write over a file that is there.")] = False,
    json: Json = False,
) -> None:
    """Search for the config that finds best, and say how sure the gain is.

    The gain is measured on questions that are kept from the search. The best config is written to a file
    for -c.

    Example: ragqa eval tune questions.jsonl --metric nDCG@10 --budget 50 -o best.yaml
    """
    from ragqa.evaluate.tune import TuneSettings

    if output.exists() and not force:
        raise UsageError(f"{output} is there already: --force writes over it.")
    if not output.parent.is_dir():
        raise UsageError(f"There is no folder {output.parent} to write {output.name} to.")
    asked = _load(questions, qrels, binary)
    settings = TuneSettings(
        metric=metric,
        budget=budget,
        held_back=held_back,
        seed=seed,
        chunks=tuple(chunk or ()),
        device=device or "auto",
        baseline=baseline,
    )
    tuned = _tune(db, asked, settings)
    output.write_text(tuned.yaml(), encoding="utf-8")
    if json:
        show.print_json(show_comparisons.tuned_json(tuned, output))
    else:
        show_comparisons.print_tuned(tuned, output)


def _tune(db: Path | None, asked: QuestionSet, settings: TuneSettings) -> Tuned:
    from ragqa.corpus.database import Corpus
    from ragqa.evaluate import tune
    from ragqa.files import default_corpus

    with (
        Corpus.open(db or default_corpus()) as corpus,
        show.progress("Indexing") as advance,
        show.progress("Trying configs") as tried,
    ):
        return tune.tune(
            corpus,
            asked,
            settings,
            on_trial=lambda trial, total: tried(trial.number + 1, total),
            on_passages=advance,
        )


def _load(questions: Sequence[Path], qrels: Path | None, binary: bool) -> QuestionSet:
    from ragqa.evaluate.questions import load_questions

    loaded = load_questions(questions, qrels)
    return loaded.binary() if binary else loaded


def _index(pipelines: Sequence[Pipeline], cluster: Cluster | None) -> None:
    for pipeline in pipelines:
        build(pipeline, cluster, f"Indexing for {pipeline.config.name}")


def _run(
    pipelines: Sequence[Pipeline], plan: Plan, store: RunStore, cluster: Cluster | None = None
) -> list[Run]:
    """Run the matrix with its progress shown, say what did not go well, and return the runs."""
    from ragqa.cluster.ray_search import RaySearch
    from ragqa.evaluate.matrix import run_matrix

    with show_runs.matrix_progress() as on_progress:

        def advance(progress: Progress) -> None:
            # Told of no question yet, once the plan is known to be sound: an error has a line of its own.
            if not progress.done:
                _describe(plan.question_set)
            on_progress(progress)

        engine = RaySearch(cluster) if cluster is not None else None
        numbers = run_matrix(pipelines, plan, store, advance, engine)
    finished = store.find([str(number) for number in numbers])
    show_runs.note_troubles(finished)
    return finished


def _check_models(pipelines: Sequence[Pipeline], plan: Plan, judge: str | None) -> None:
    """Raise UsageError for a model that there is not."""
    from ragqa.answer.models import find_model

    wanted = [name or pipeline.config.model for pipeline in pipelines for name in plan.models]
    for name in dict.fromkeys([*(wanted if plan.answers else []), *([judge] if judge else [])]):
        find_model(name)


def _describe(question_set: QuestionSet) -> None:
    questions = question_set.questions
    judged = sum(question.judged for question in questions)
    golden = sum(bool(question.golden_answers) for question in questions)
    refusals = sum(question.unanswerable for question in questions)
    show.note(
        f"{question_set.name}: {len(questions):,} questions, {judged:,} with relevant documents, "
        f"{golden:,} with golden answers, {refusals:,} that have none."
    )


def _judge(store: RunStore, runs: Sequence[Run], judge: str) -> list[Judged]:
    from ragqa.answer.models import find_model
    from ragqa.evaluate.judging import judge_runs

    with show.progress("Judging") as advance:
        return judge_runs(store, runs, find_model(judge), on_verdict=lambda done: advance(done, None))


def _baseline(runs: Path | None, name: str) -> Run:
    """Return the baseline, a file where there is one of that name and else a stored run."""
    from ragqa.evaluate.export import read_json_lines
    from ragqa.evaluate.store import RunStore

    if Path(name).is_file():
        return read_json_lines(Path(name))
    try:
        with RunStore.open(runs) as store:
            return store.find([name])[0]
    except UsageError as error:
        raise UsageError(f"There is no file {name}. {error}") from error
