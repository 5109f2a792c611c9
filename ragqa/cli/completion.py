"""What the shell offers after Tab: configs, models, documents, runs. It reads little and says nothing.

Typer speaks each shell's protocol. Ids are written by others, and what a shell would obey is not offered.
"""

from __future__ import annotations

import io
import os
import re
import sqlite3
import sys
from collections.abc import Callable, Iterable
from contextlib import closing, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

import typer

from ragqa.cli.shell import VARIABLE

DEVICES = ("auto", "cpu", "cuda", "mps")
FORMATS = ("auto", "html", "markdown", "text")
METRICS = (
    *("nDCG@10", "AP@100", "P@5", "R@100", "RR@10", "Success@1", "Success@5"),
    *("EM", "F1", "Contains", "ROUGE-L", "Answered", "Refused", "CiteP", "CiteR", "Judge"),
)
# More than these no one reads, and no shell waits for.
MOST = 500
BUSY_TIMEOUT_S = 0.2
_SAFE = re.compile(r"[\w@%+:,./][\w@%+=:,./ -]*")
# Where bash cuts words beside at spaces: it completes what comes after.
_CUTS = re.compile(r"[:=]+")
_LAST = "\U0010ffff"


# -- values -----------------------------------------------------------------------------------


def configs(incomplete: str) -> list[str]:
    return _offer([*_shipped("configs"), *_yaml_files(incomplete)], incomplete)


def prompts(incomplete: str) -> list[str]:
    others = {"rewrite", "write-question"}
    answering = [name for name in _shipped("prompts") if not name.startswith("judge-") and name not in others]
    return _offer([*answering, *_yaml_files(incomplete)], incomplete)


def rubrics(incomplete: str) -> list[str]:
    judging = [name for name in _shipped("prompts") if name.startswith("judge-")]
    return _offer([*judging, *_yaml_files(incomplete)], incomplete)


def models(incomplete: str) -> list[str]:
    from ragqa.cli import model_names

    return _offer(model_names.known(), incomplete)


def devices(incomplete: str) -> list[str]:
    return _offer(DEVICES, incomplete)


def formats(incomplete: str) -> list[str]:
    return _offer(FORMATS, incomplete)


def metrics(incomplete: str) -> list[str]:
    return _offer(METRICS, incomplete)


def documents(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the ids of the documents in the corpus."""
    from ragqa.files import default_corpus

    return _offer(_ids(_file(ctx, "db") or default_corpus(), "documents", "id", incomplete), incomplete)


def runs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the names of the stored runs."""
    from ragqa.files import default_runs

    return _offer(_ids(_file(ctx, "runs") or default_runs(), "runs", "name", incomplete), incomplete)


def questions(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the ids of the questions that were asked."""
    from ragqa.files import default_runs

    return _offer(_ids(_file(ctx, "runs") or default_runs(), "questions", "id", incomplete), incomplete)


def _offer(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete) and _SAFE.fullmatch(name)]


def _shipped(folder: str) -> list[str]:
    from ragqa.files import shipped

    return sorted(path.stem for path in shipped(folder).glob("*.yaml"))


def _yaml_files(incomplete: str) -> list[str]:
    """Return the YAML files of the folder typed so far.

    None where a folder in it could be meant as well: then the shell completes names of files, and of
    folders without a space after them, as only it can.
    """
    typed, slash, begun = incomplete.rpartition("/")
    with suppress(OSError, RuntimeError):
        entries = [
            entry for entry in Path(typed + slash).expanduser().iterdir() if entry.name.startswith(begun)
        ]
        if slash and any(entry.is_dir() for entry in entries):
            return []
        return sorted(
            f"{typed}{slash}{entry.name}"
            for entry in entries
            if entry.suffix in (".yaml", ".yml") and entry.is_file()
        )
    return []


def _file(ctx: typer.Context, option: str) -> Path | None:
    value = ctx.params.get(option)
    return Path(str(value)).expanduser() if value else None


def _ids(path: Path, table: str, column: str, incomplete: str) -> list[str]:
    """Return values of a column that begin with what is typed, read without a lock or a migration.

    Of too many, the first ones and the last: their common beginning is that of all. Opened for reading alone,
    SQLite would leave its files -wal and -shm behind.
    """
    name = quote(str(path.expanduser().absolute()))
    query = f"SELECT DISTINCT {column} FROM {table} WHERE {column} >= ? AND {column} < ? ORDER BY {column}"
    span = [incomplete, incomplete + _LAST]
    with closing(sqlite3.connect(f"file:{name}?mode=rw", uri=True, timeout=BUSY_TIMEOUT_S)) as connection:
        connection.execute("PRAGMA query_only = 1")
        found = [str(row[0]) for row in connection.execute(f"{query} LIMIT {MOST}", span)]
        if len(found) == MOST:
            found += [str(row[0]) for row in connection.execute(f"{query} DESC LIMIT 1", span)]
    return found


# -- the shell --------------------------------------------------------------------------------


def complete(program: Callable[[], Any]) -> NoReturn:
    """Answer the shell that asks through the environment, and exit. Nothing that fails is seen."""
    printed = io.StringIO()
    asked = os.environ[VARIABLE]
    current = _join_words() if asked == "complete_bash" else _current_word()
    code = 1
    try:
        with redirect_stdout(printed), redirect_stderr(io.StringIO()):
            program()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0
    except (Exception, KeyboardInterrupt):
        printed = io.StringIO()
    text = printed.getvalue()
    insert = _INSERTS.get(asked)
    with suppress(OSError):
        print(insert(text, current) if insert else text, end="", flush=True)
    sys.exit(code)


def _join_words() -> str:
    """Put together again what bash cut at : and =, and return the word to complete where it was cut.

    bash takes "https://a" for three words, COMP_WORDS holds each on a line.
    """
    words = os.environ.get("COMP_WORDS", "").split("\n")
    try:
        place = int(os.environ.get("COMP_CWORD", ""))
    except ValueError:
        return ""
    if not 0 < place < len(words):
        return ""
    joined, glued = words[:1], False
    for word in words[1 : place + 1]:
        if len(joined) > 1 and (_CUTS.fullmatch(word) or glued):
            joined[-1] += word
        else:
            joined.append(word)
        glued = _CUTS.fullmatch(word) is not None
    os.environ["COMP_WORDS"] = "\n".join(joined)
    os.environ["COMP_CWORD"] = str(len(joined) - 1)
    return joined[-1]


def _as_bash_inserts(text: str, current: str) -> str:
    """Return the lines offered as bash puts them in: from its last cut on, with spaces escaped."""
    value = current.partition("=")[2] if current.startswith("-") else current
    quoted = value[:1] in ("'", '"')
    cuts = [] if quoted else list(_CUTS.finditer(value))
    skip = cuts[-1].end() if cuts else 0
    lines = (line[skip:] for line in text.splitlines() if line)
    return "".join(f"{line if quoted else line.replace(' ', chr(92) + ' ')}\n" for line in lines)


def _current_word() -> str:
    line = os.environ.get("_TYPER_COMPLETE_ARGS", "")
    return "" if not line or line[-1].isspace() else line.split()[-1]


def _as_zsh_inserts(text: str, current: str) -> str:
    """Return what zsh is to evaluate, with --option= before each value where that is a part of the word."""
    return _ZSH_VALUE.sub(lambda found: found[0] + _option(current), text)


def _as_fish_inserts(text: str, current: str) -> str:
    return "".join(f"{_option(current)}{line}\n" for line in text.splitlines() if line)


def _option(current: str) -> str:
    name, equals, _ = current.partition("=")
    return name + equals if equals and _LONG.fullmatch(name) else ""


_LONG = re.compile(r"--[\w-]+")
# Where a value begins: the first one after what Typer puts before all, each other on a line of its own.
_ZSH_VALUE = re.compile(r"""^(?:_arguments '\*: :\(\()?\"""", re.M)
_INSERTS: dict[str, Callable[[str, str], str]] = {
    "complete_bash": _as_bash_inserts,
    "complete_zsh": _as_zsh_inserts,
    "complete_fish": _as_fish_inserts,
}
