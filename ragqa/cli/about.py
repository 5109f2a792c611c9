"""Commands about ragqa itself: configs, models, doctor."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ragqa.cli import show
from ragqa.cli.options import Db, Json


def print_version(asked: bool) -> None:
    """Print the version and stop."""
    if asked:
        from ragqa import __version__

        show.say(f"ragqa, version {__version__}")
        raise typer.Exit


def configs(json: Json = False) -> None:
    """List the configs that come with ragqa.

    Each is a YAML file to copy and change: -c takes a path as well as a name.

    Example: ragqa configs
    Example: ragqa configs --json
    """
    from ragqa.config import load_config, shipped_configs

    listed = [
        {"name": name, "description": load_config(name).description, "path": str(path)}
        for name, path in shipped_configs().items()
    ]
    if json:
        show.print_json({"configs": listed})
        return
    for config in listed:
        show.say(f"{config['name']:<16} {config['description']}")


def models(json: Json = False) -> None:
    """List the models that can answer, and which of them are ready.

    They are llm's: its plugins bring more, its keys and aliases count here as well.

    Example: ragqa models
    Example: ragqa models --json
    """
    from ragqa.answer.models import list_models
    from ragqa.cli import model_names

    listed = list_models()
    model_names.remember(name for model in listed for name in (model["model"], *model["aliases"]))
    if json:
        show.print_json({"models": listed})
        return
    for model in listed:
        aliases = f" ({', '.join(model['aliases'])})" if model["aliases"] else ""
        state = "ready" if model["ready"] else f"needs a key: llm keys set {model['needs_key']}"
        auto = ", used without -m" if model["auto"] else ""
        show.say(f"{model['model']}{aliases}: {state}{auto}")


def doctor(
    db: Db = None,
    offline_check: Annotated[
        bool,
        typer.Option("--offline-check", help="Answer questions without any network, and say what was tried."),
    ] = False,
    licences: Annotated[
        bool, typer.Option("--licences", help="List the licences of ragqa and all that it needs, instead.")
    ] = False,
    json: Json = False,
) -> None:
    """Check the installation and the corpus, and say what to run.

    It looks at what comes with ragqa, the extras, the devices, the models that are ready, and the corpus.
    With --offline-check it ingests, indexes, searches and answers in a process that has no network, and tells
    every attempt to reach one. Exits with 1 when something is wrong.

    Example: ragqa doctor
    Example: ragqa doctor --offline-check
    Example: ragqa doctor --db notes.db --json
    """
    if licences:
        _list_licences(json)
        return
    from ragqa.doctor.examination import examine

    report = examine(db, offline=offline_check)
    if json:
        show.print_json(report)
    else:
        for name, version in report["versions"].items():
            show.say(f"{name:<22} {version or 'not installed'}")
        show.say(f"{'devices':<22} {', '.join(report['devices'])}")
        for extra in report["extras"]:
            state = f"{extra['install']} for" if extra["missing"] else "installed, for"
            show.say(f"{'ragqa[' + extra['name'] + ']':<22} {state} {extra['use']}")
        show.say(f"{'models ready':<22} {', '.join(report['models_ready'])}")
        show.say(f"{'corpus':<22} {report['corpus']}")
        if "offline_check" in report:
            _print_offline(report["offline_check"])
        for hint in report["hints"]:
            show.say(hint)
        for problem in report["problems"]:
            show.say(f"Problem: {problem}")
        for step in report["to_run"]:
            show.say(f"To run: {step}")
        if not report["problems"]:
            show.say("All is well.")
    if report["problems"]:
        raise typer.Exit(1)


def _print_offline(checked: dict[str, Any]) -> None:
    show.say(f"Without network ({checked['network']}):")
    for step in checked["steps"]:
        show.say(f"  {step['step']}: {step['result'] if step['worked'] else 'failed'}")
    if not checked["attempts"]:
        show.say("  Nothing tried to reach the network.")


def _list_licences(json: bool) -> None:
    from ragqa.doctor.licences import licences

    listed = licences()
    if json:
        show.print_json({"licences": listed})
        return
    show.print_table([("package", "version", "licence")] + [tuple(one.values()) for one in listed], (0, 1, 2))
