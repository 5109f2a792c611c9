"""`ragqa train`: a late-interaction checkpoint that fits the corpus."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragqa.cli import show
from ragqa.cli.options import ConfigName, Db, Device, Json, Seed
from ragqa.cli.question import open_pipeline
from ragqa.cli.show_comparisons import difference_json, print_differences

if TYPE_CHECKING:
    from ragqa.train.request import TrainReport


Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the checkpoint goes.")]
Sources = Annotated[
    list[str] | None,
    typer.Option(
        "--from",
        metavar="SOURCE",
        help="headings (the default), a file of questions with relevant documents, or model:NAME for "
        "questions that an llm model writes. Can be repeated.",
    ),
]
Compare = Annotated[
    Path | None,
    typer.Option("--compare", metavar="QUESTIONS", help="Compare before and after on these, too."),
]
Base = Annotated[
    str | None,
    typer.Option("--base", metavar="MODEL", help="A folder or hub name to begin with, not the config's."),
]
Full = Annotated[bool, typer.Option("--full/--lora", help="Train all weights, or adapters.")]
Epochs = Annotated[int, typer.Option("--epochs", min=1, help="Times that every pair is seen.")]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Make only so many steps.")]
Minutes = Annotated[
    float | None, typer.Option("--minutes", min=0.01, help="Train no longer; how far depends on speed.")
]
Batch = Annotated[int, typer.Option("--batch", min=2, help="Pairs in a step.")]
Rate = Annotated[
    float | None, typer.Option("--rate", min=1e-9, help="The learning rate. Default: 3e-4, full 3e-5.")
]
Negatives = Annotated[int, typer.Option("--negatives", min=1, max=16, help="Hard ones of a pair.")]
Distil = Annotated[
    str,
    typer.Option(
        "--distil", metavar="TEACHER", help="Learn the scores of fusion, or of a cross-encoder's MODEL."
    ),
]
Written = Annotated[int, typer.Option("--written", min=1, help="Passages that a model writes questions for.")]
HeldBack = Annotated[
    float, typer.Option("--held-back", min=0.05, max=0.5, help="Share of documents kept for comparing.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the same command's stopped run.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Install a checkpoint that is not better, too.")]


def train(
    folder: Folder,
    source: Sources = None,
    compare: Compare = None,
    base: Base = None,
    full: Full = False,
    epochs: Epochs = 2,
    steps: Steps = None,
    minutes: Minutes = None,
    batch: Batch = 32,
    rate: Rate = None,
    negatives: Negatives = 1,
    distil: Distil = "",
    written: Written = 500,
    held_back: HeldBack = 0.2,
    seed: Seed = 0,
    resume: Resume = False,
    force: Force = False,
    config: ConfigName = "default",
    db: Db = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Make a ColBERT checkpoint that fits your documents.

    It learns which passage answers a question, from titles and headings and the text under them, from a
    question set, or from questions that a model writes (each is asked for once and kept). What the config's
    first stage finds beside the answer are its hard negatives. Pairs of some documents are held back:
    the checkpoint is installed if it ranks their answers higher than its base does, by more than chance
    (nDCG@10, p < .05), and loses nothing significant on --compare. If not, the exit code is 1.

    FOLDER gets a checkpoint for `model:` and a config.yaml that names it. The same seed gives the same
    checkpoint on the same machine, unless --minutes ends it. --compare's questions are never trained on.

    Example: ragqa train mine --compare questions.jsonl
    Example: ragqa train mine --from questions.jsonl --from model:gpt-4o-mini --written 200
    Example: ragqa train mine --base colbert-ir/colbertv2.0 --full --device cuda --distil fusion
    """
    from ragqa.train.request import TrainRequest
    from ragqa.train.run import train as run
    from ragqa.train.training import TrainingSettings

    request = TrainRequest(
        folder=folder,
        sources=tuple(dict.fromkeys(source or ["headings"])),
        compare=compare,
        base=base,
        training=TrainingSettings(
            epochs=epochs, steps=steps, minutes=minutes, batch=batch, rate=rate, lora=not full, seed=seed
        ),
        held_back=held_back,
        negatives=negatives,
        distil=distil,
        written=written,
        resume=resume,
        force=force,
    )
    with open_pipeline(config, db, device) as pipeline:
        report = run(pipeline, request, show.progress)
    if json:
        show.print_json(_as_json(report))
    else:
        _print(report, folder)
    if not report.installed:
        show.error(
            f"{folder} was not installed, because it is not better than {report.base}. "
            f"It is kept aside in {report.work} until the next training; --resume --force installs it."
        )
        raise typer.Exit(1)


def _print(report: TrainReport, folder: Path) -> None:
    total = sum(report.origins.values())
    shares = ", ".join(f"{origin} {count / total:.0%}" for origin, count in report.origins.items())
    left_out = f", {report.between:,} left out between them" if report.between else ""
    show.say(f"{total:,} pairs to train on ({shares}), {report.held_back_pairs:,} held back{left_out}")
    trained = report.trained
    show.say(
        f"{trained.steps:,} of {trained.of:,} steps, loss {trained.first_loss:.3f} at first and "
        f"{trained.last_loss:.3f} at last"
    )
    show.say()
    for comparison in report.comparisons:
        show.say(f"{comparison.questions}: {comparison.before:.3f} before, {comparison.after:.3f} after")
        print_differences([], [comparison.difference])
    if report.installed:
        show.say(f"Installed in {folder}. ragqa index -c {folder / 'config.yaml'} makes its")
        show.say("vectors; then -c with the same file searches, asks and compares with it.")


def _as_json(report: TrainReport) -> dict[str, Any]:
    return {
        "folder": str(report.folder),
        "base": report.base,
        "installed": report.installed,
        "better": report.better,
        "pairs": dict(report.origins),
        "held_back": report.held_back_pairs,
        "left_out": report.between,
        "training": asdict(report.trained),
        "comparisons": [
            {
                "questions": comparison.questions,
                "before": comparison.before,
                "after": comparison.after,
                **difference_json(comparison.difference),
            }
            for comparison in report.comparisons
        ],
        "seconds": dict(report.seconds),
    }
