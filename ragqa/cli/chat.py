"""`ragqa chat`: questions one after another, on a terminal or from a pipe."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from ragqa.cli import show, show_answer
from ragqa.cli.options import (
    ConfigName,
    Db,
    Device,
    ModelName,
    ModelOptions,
    NoLog,
    PromptName,
    Refuse,
    Where,
    model_options,
)
from ragqa.cli.question import open_pipeline
from ragqa.errors import UsageError, sentence, unknown_name

if TYPE_CHECKING:
    from ragqa.pipeline import Pipeline
    from ragqa.service.chat import Chat
    from ragqa.service.events import Event

PROMPT = "> "
# How many hits /explain shows.
EXPLAINED = 3
# What a path begins with, such as /etc/hosts, is no command.
_COMMAND = re.compile(r"/(?P<name>\w*)(?:\s+(?P<argument>.*))?", re.S)
_QUIT = "quit"


def chat(
    config: ConfigName = "default",
    model: ModelName = None,
    option: ModelOptions = None,
    prompt: PromptName = None,
    refuse: Refuse = None,
    resume: Annotated[
        bool, typer.Option("--continue", help="Go on with the last conversation in llm's log.")
    ] = False,
    no_rewrite: Annotated[
        bool, typer.Option("--no-rewrite", help="Search follow-up questions as they are typed.")
    ] = False,
    where: Where = None,
    db: Db = None,
    device: Device = None,
    no_log: NoLog = False,
) -> None:
    """Ask questions one after another, follow-up questions among them.

    One such as "and how is it installed?" is made to stand alone before it is searched. Questions in a pipe
    or a file are read one a line. /help lists the commands, Ctrl-D leaves.

    Example: ragqa chat -c default -m gpt-4o-mini
    Example: ragqa chat --no-log < questions.txt
    """
    from ragqa.service.chat import Chat

    with ExitStack() as stack:
        opened: dict[str, Pipeline] = {}

        def open_named(name: str) -> Pipeline:
            if name not in opened:
                opened[name] = stack.enter_context(
                    open_pipeline(name, db, device, where, prompt=prompt, refuse=refuse)
                )
            return opened[name]

        talk = Chat(
            open_named,
            config,
            model=model,
            options=model_options(option),
            rewriting=not no_rewrite,
            log=not no_log,
            note=show.note,
        )
        if resume:
            talk.resume()
        on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
        # On a terminal a failure has been seen, and there the chat went on.
        if not _converse(talk, on_terminal) and not on_terminal:
            raise typer.Exit(1)


def _converse(talk: Chat, on_terminal: bool) -> bool:
    """Answer questions and obey commands until there are no more; tell whether all of them could be."""
    if on_terminal:
        _greet(talk)
    worked = True
    for line in _typed() if on_terminal else _piped():
        try:
            if not _respond(talk, line, on_terminal):
                break
        except KeyboardInterrupt:
            if not on_terminal:
                raise
            print()
            show.note("Stopped.")
        except Exception as error:
            said = sentence(error)
            if said is None:
                raise
            worked = False
            sys.stdout.flush()
            show.error(f"Error: {said}")
    return worked


def _greet(talk: Chat) -> None:
    said = len(talk.conversation.turns)
    known = f" The conversation has {said} {'turn' if said == 1 else 'turns'} so far." if said else ""
    show.say(
        f"Config {talk.pipeline.config.name}, model {talk.model}.{known} /help lists commands, Ctrl-D leaves."
    )


def _typed() -> Iterator[str]:
    """Yield the lines typed at the prompt, with line editing where Python has it."""
    with suppress(ImportError):
        import readline  # noqa: F401
    while True:
        try:
            line = input(PROMPT).strip()
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print()
            raise typer.Exit(130) from None
        if line:
            yield line


def _piped() -> Iterator[str]:
    """Yield the lines of standard input, each shown as if it had been typed."""
    for raw in sys.stdin.buffer:
        line = raw.decode("utf-8", "replace").strip()
        if line:
            show.say(PROMPT + line)
            sys.stdout.flush()
            yield line


def _respond(talk: Chat, line: str, on_terminal: bool) -> bool:
    """Obey a command or answer a question; tell whether the chat goes on."""
    command = _COMMAND.fullmatch(line)
    if command is None:
        _answer(talk, line, show.say if on_terminal else show.note)
        return True
    name = command["name"]
    if name == _QUIT:
        return False
    if name not in _COMMANDS:
        raise unknown_name("command", f"/{name}", [f"/{known}" for known in [*_COMMANDS, _QUIT]])
    _COMMANDS[name][0](talk, (command["argument"] or "").strip())
    return True


def _answer(talk: Chat, text: str, tell: Callable[[str], None]) -> None:
    from ragqa.service.events import Searched

    printer = show_answer.AnswerPrinter(talk.pipeline.config.check)

    def take(event: Event) -> None:
        match event:
            case Searched(question) if question != text:
                tell(f"Searched for: {question}")
        printer.take(event)

    show_answer.print_after(talk.ask(text, take))
    print()
    sys.stdout.flush()


# -- commands -------------------------------------------------------------------------------------


def _sources(talk: Chat, argument: str) -> None:
    answer = talk.last_answer()
    cited = {citation.number for citation in answer.citations}
    for block in answer.context.blocks:
        mark = ", cited" if block.number in cited else ""
        show.say(f"[{block.number}] {show_answer.reference(block.first, mark)}")
        show.say_text(textwrap.indent(block.text.strip(), "    ") + "\n")
    if not answer.context.blocks:
        show.say("The last answer was given without passages.")


def _explain(talk: Chat, argument: str) -> None:
    from ragqa.cli.show_explanation import print_explanation

    print_explanation(talk.explain(EXPLAINED))


def _model(talk: Chat, argument: str) -> None:
    if argument:
        talk.use_model(argument)
    show.say(f"Model {talk.model}" + ("" if argument else "; ragqa models lists the others"))


def _config(talk: Chat, argument: str) -> None:
    from ragqa.config import shipped_configs

    if argument:
        talk.use_config(argument)
    known = "" if argument else f"; there are {', '.join(shipped_configs())}"
    show.say(f"Config {talk.pipeline.config.name}, model {talk.model}{known}")


def _rewrite(talk: Chat, argument: str) -> None:
    if argument not in ("", "on", "off"):
        raise UsageError("/rewrite is on or off.")
    if argument:
        talk.rewriting = argument == "on"
    state = "made to stand alone" if talk.rewriting else "searched as they are typed"
    show.say(f"Follow-up questions are {state}")


def _new(talk: Chat, argument: str) -> None:
    talk.forget()
    show.say("A new conversation")


def _help(talk: Chat, argument: str) -> None:
    for name, (_, usage, what) in _COMMANDS.items():
        show.say(f"{f'/{name} {usage}':<16} {what}")
    show.say(f"{'/' + _QUIT:<16} Leave; so does Ctrl-D")


_COMMANDS: dict[str, tuple[Callable[[Chat, str], None], str, str]] = {
    "sources": (_sources, "", "The passages that the last answer was given, with their text"),
    "explain": (_explain, "", "Which words of the last question matched the best passages"),
    "model": (_model, "[NAME]", "Answer with another model"),
    "config": (_config, "[NAME]", "Search with another config"),
    "rewrite": (_rewrite, "on|off", "Whether follow-up questions are made to stand alone"),
    "new": (_new, "", "Forget what was said and begin a new conversation"),
    "help": (_help, "", "This list"),
}
