"""Where input comes in, with strategies that know what is nasty there."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import strategies as st

from ragqa.config import ChunkSettings, dump_config, load_config, parse_config
from ragqa.corpus.chunking import Chunker
from ragqa.corpus.database import Corpus
from ragqa.corpus.ingest import ingest
from ragqa.sources import Fields, Skipped, open_sources
from ragqa.sources import sqlite as loader
from ragqa.sources.text import decode, read_markup
from ragqa.types import Document
from tests.conftest import fill, write_notes
from tests.stress.files import mutated
from tests.stress.fuzz import Target
from tests.stress.nasty import QUERIES, SQL, UNITS, WRITTEN

# Enough that a time which grows with the square is seen.
REPEATED = 30_000

words = st.text(st.characters(), max_size=40)
repeated = st.builds(
    lambda unit, count: unit * (count // max(1, len(unit))),
    st.sampled_from(UNITS) | st.text(st.characters(), min_size=1, max_size=4),
    st.sampled_from([0, 3, 300, REPEATED]),
)
pieces = st.lists(st.sampled_from(UNITS) | words, max_size=30).map("".join)
texts = pieces | repeated | st.tuples(pieces, repeated, pieces).map("".join)
raws = (
    texts.map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.binary(max_size=200)
    | st.builds(
        lambda text, code, cut: text.encode(code, "replace")[cut:],
        texts,
        st.sampled_from(["utf-16", "utf-16-be", "utf-32", "latin-1", "utf-8-sig", "utf-7"]),
        st.integers(0, 3),
    )
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.dates()
    | st.sampled_from([10**30, -1, 0]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=8,
)


def targets(folder: Path) -> list[Target]:
    """Return all targets; `folder` is where they keep their files."""
    asked = texts | st.sampled_from(["a" * 1_000_000, "x " * 500_000, "\0", "\ud800", ""])
    search, explain, ask = _questions(folder)
    return [
        Target("search", 3, asked, search),
        Target("explain", 1, asked, explain),
        Target("ask", 0.4, asked, ask),
        Target("config", 3, _yaml(CONFIG_KEYS), _config(folder)),
        Target("config values", 2, _settings(), _settle),
        Target("prompt", 2, _yaml(["prompt", "system", "defaults", "model"]), _prompt(folder)),
        Target("question set", 3, st.tuples(st.sampled_from(SETS), _sets()), _question_set(folder)),
        Target(
            "records", 3, st.tuples(st.sampled_from([".jsonl", ".csv", ".tsv"]), _sets()), _records(folder)
        ),
        Target("markup", 3, st.tuples(raws, st.sampled_from(["auto", "markdown", "html", "text"])), _markup),
        Target("names", 0.5, st.dictionaries(_names(), raws, max_size=5), _ingest(folder)),
        Target("files", 3, *mutated(folder / "files")),
        Target("path", 1, texts, lambda text: open_sources([text], Fields())),
        Target("sqlite", 2, st.lists(st.sampled_from(SQL), min_size=1, max_size=6), _database(folder)),
        Target(
            "sqlite bytes",
            1,
            st.tuples(st.integers(0, 12_287), st.binary(min_size=1, max_size=40)),
            _broken(folder),
        ),
        Target("query", 1, texts | st.sampled_from(QUERIES), _query(folder)),
        Target("model output", 3, st.lists(texts, max_size=12), _answer),
    ]


# -- questions ----------------------------------------------------------------------------------------


def _questions(folder: Path) -> tuple[Callable[[str], object], ...]:
    from ragqa.operations.corpus import build_index
    from ragqa.pipeline import Pipeline

    path = folder / "asked.db"
    fill(path, write_notes(folder / "asked"))
    fts, default = Pipeline.from_config("fts", path), Pipeline.from_config("default", path)
    build_index(default)
    return (
        lambda text: fts.search(text),
        lambda text: fts.explain(fts.search(text)),
        lambda text: default.ask(text, model="extractive", log=False),
    )


# -- YAML ---------------------------------------------------------------------------------------------

CONFIG_KEYS = [
    "name",
    "chunk",
    "retrieve",
    "candidates",
    "rerank",
    "k",
    "context",
    "prompt",
    "refuse",
    "options",
    "model",
]


def _yaml(keys: list[str]) -> st.SearchStrategy[bytes]:
    """Return YAML: a mapping of known keys to anything, aliases of aliases, and what is no YAML at all."""
    lines = st.builds(
        lambda key, mark, value: f"{key}: {mark}{value}",
        st.sampled_from([*keys, "a", "<<"]),
        st.sampled_from(
            ["", "&a ", "!!int ", "!!bool ", "!!timestamp ", "!!python/name:os.system ", "!!binary "]
        ),
        texts
        | st.sampled_from(["{type: fts}", "[*a, *a]", "{<<: [*a, *a]}", "*a", "0x" + "f" * 9_000, ".nan"]),
    )
    bombs = st.builds(bomb, st.integers(1, 12), st.integers(2, 9), st.booleans())
    return (st.lists(lines, max_size=8).map("\n".join) | bombs).map(
        lambda text: text.encode("utf-8", "surrogatepass")
    ) | raws


def bomb(depth: int, width: int, merge: bool) -> str:
    """Return a config with an option that stands for `width` to the power of `depth` values."""
    lines = ["retrieve: {type: fts}", "options:", "  a0: &a0 {x: 1}"]
    for place in range(1, depth + 1):
        inner = ", ".join([f"*a{place - 1}"] * width)
        value = f"{{<<: [{inner}]}}" if merge else f"[{inner}]"
        lines.append(f"  a{place}: &a{place} {value}")
    return "\n".join(lines)


def _config(folder: Path) -> Callable[[bytes], object]:
    path = folder / "config.yaml"

    def run(raw: bytes) -> None:
        path.write_bytes(raw)
        _settle(load_config(str(path)).model_dump())

    return run


def _settings() -> st.SearchStrategy[dict[str, Any]]:
    stage = st.fixed_dictionaries({"type": st.sampled_from(["fts", "hybrid", "dense", "none"]) | values})
    return st.dictionaries(st.sampled_from(CONFIG_KEYS), values | stage, max_size=4).map(
        lambda said: {"retrieve": {"type": "fts"}, **said}
    )


def _settle(said: dict[str, Any]) -> None:
    config = parse_config(said, "fuzz")
    again = dump_config(config)
    assert len(again) < 10_000_000


def _prompt(folder: Path) -> Callable[[bytes], object]:
    from ragqa.answer.prompts import load_prompt, render_prompt

    path = folder / "prompt.yaml"

    def run(raw: bytes) -> None:
        path.write_bytes(raw + b"\nprompt: $context $input" if raw[:1] < b"m" else raw)
        render_prompt(load_prompt(str(path)), "What?", "[1] a\n> b")

    return run


# -- records and question sets ------------------------------------------------------------------------

SETS = [".jsonl", ".json", ".csv", ".tsv", ".txt", ".xml", "beir", "qrels"]


def _sets() -> st.SearchStrategy[bytes]:
    names = ["id", "_id", "question", "text", "title", "relevant", "golden_answers", "type", "url", ""]
    rows = st.dictionaries(st.sampled_from(names), values, max_size=6).map(
        lambda row: json.dumps(row, default=str)
    )
    deep = st.integers(1, 3_000).map(lambda depth: '{"id": 1, "text": ' + "[" * depth + "]" * depth + "}")
    cells = st.lists(st.lists(words | repeated, max_size=4).map(",".join), max_size=5).map(
        lambda lines: "\n".join(["id,text,question", *lines])
    )
    whole = st.lists(rows | deep, max_size=5).map("\n".join) | cells
    return whole.map(lambda text: text.encode("utf-8", "surrogatepass")) | raws


def _question_set(folder: Path) -> Callable[[tuple[str, bytes]], object]:
    from ragqa.evaluate.questions import load_questions

    def run(case: tuple[str, bytes]) -> None:
        kind, raw = case
        if kind == "beir":
            (folder / "beir" / "qrels").mkdir(parents=True, exist_ok=True)
            (folder / "beir" / "queries.jsonl").write_bytes(raw)
            (folder / "beir" / "qrels" / "test.tsv").write_bytes(b"query-id\tcorpus-id\tscore\n1\ta\t1\n")
            found = load_questions(folder / "beir")
        else:
            path = folder / f"set{'.txt' if kind == 'qrels' else kind}"
            path.write_bytes(raw)
            found = load_questions(path, path if kind == "qrels" else None)
        assert found.fingerprint

    return run


def _records(folder: Path) -> Callable[[tuple[str, bytes]], object]:
    def run(case: tuple[str, bytes]) -> None:
        path = folder / f"rows{case[0]}"
        path.write_bytes(case[1])
        for source in open_sources([str(path)], Fields()):
            for item in source.items:
                _storable(item)

    return run


def _storable(item: Document | Skipped) -> None:
    """Check that what a loader gave is text that can be stored: no half characters, no NUL."""
    if isinstance(item, Skipped):
        assert item.reason
        return
    for text in (
        item.id,
        item.title,
        item.text,
        item.source,
        json.dumps(dict(item.metadata), ensure_ascii=False),
    ):
        text.encode()
        assert "\0" not in text
    assert item.text.strip()


# -- documents ----------------------------------------------------------------------------------------


def _markup(case: tuple[bytes, str]) -> None:
    raw, format = case
    readable = read_markup(decode(raw), format)
    if not readable.text.strip():
        return
    document = Document("a", readable.title, readable.text, "", readable.metadata, readable.format)
    _storable(document)
    for piece in Chunker(200, 0).pieces(document):
        assert document.text[piece.start : piece.end] == piece.text


def _names() -> st.SearchStrategy[bytes]:
    """Return names that a file may have: any bytes but the slash and NUL."""
    name = st.binary(min_size=1, max_size=20).map(lambda raw: raw.replace(b"/", b"-").replace(b"\0", b"0"))
    return st.builds(
        lambda raw, suffix: raw + suffix, name, st.sampled_from([b".md", b".txt", b".html", b"\n.md"])
    )


def _ingest(folder: Path) -> Callable[[dict[bytes, bytes]], object]:
    root = folder / "names"

    def run(files: dict[bytes, bytes]) -> None:
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        for name, raw in files.items():
            with open(os.path.join(os.fsencode(root), name), "wb") as file:
                file.write(raw)
        os.mkfifo(root / "pipe.md")
        (root / "loop").symlink_to(root)
        (root / "itself.md").symlink_to(root / "itself.md")
        (root / "zero.txt").symlink_to("/dev/zero")
        with Corpus.open(root / "corpus.db", create=True) as corpus:
            ingest(corpus, open_sources([str(root)], Fields()), ChunkSettings())
            assert corpus.connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"

    return run


# -- databases ----------------------------------------------------------------------------------------


def _read(path: Path, **options: Any) -> None:
    before = path.read_bytes()
    written = path.with_name("written.db")
    written.unlink(missing_ok=True)
    if "sql" in options:
        options["sql"] = options["sql"].replace(WRITTEN, str(written))
    with mock.patch.object(loader, "PATIENCE_S", 0.2):
        for source in open_sources([str(path)], Fields(), **options):
            for number, item in enumerate(source.items):
                _storable(item)
                if number == 200:
                    break
    assert path.read_bytes() == before
    assert not written.exists()


def _database(folder: Path) -> Callable[[list[str]], object]:
    path = folder / "theirs.db"

    def run(statements: list[str]) -> None:
        path.unlink(missing_ok=True)
        connection = sqlite3.connect(path, isolation_level=None)
        for statement in [SQL[0], *statements]:
            try:
                connection.execute(statement)
            except (sqlite3.Error, MemoryError):
                continue
        connection.close()
        for table in (
            "t",
            "u",
            "w",
            "v",
            "endless",
            "many",
            "big",
            "evil",
            "itself",
            "f",
            "f4",
            "r",
            "\udcff",
        ):
            _tried(lambda table=table: _read(path, table=table))

    return run


def _tried(read: Callable[[], None]) -> None:
    from ragqa.errors import RagqaError

    try:
        read()
    except RagqaError:
        return


def _broken(folder: Path) -> Callable[[tuple[int, bytes]], object]:
    whole = folder / "whole.db"
    connection = sqlite3.connect(whole)
    connection.executescript(
        "CREATE TABLE t (id PRIMARY KEY, text); CREATE VIRTUAL TABLE f USING fts5 (id, text)"
    )
    connection.executemany("INSERT INTO t VALUES (?, 'some words')", [[number] for number in range(50)])
    connection.commit()
    connection.close()
    raw = whole.read_bytes()

    def run(case: tuple[int, bytes]) -> None:
        place, instead = case
        path = folder / "broken.db"
        path.write_bytes(raw[:place] + instead + raw[place + len(instead) :])
        _read(path, table="t")

    return run


def _query(folder: Path) -> Callable[[str], object]:
    path = folder / "queried.db"
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE t (id, text); INSERT INTO t VALUES (1, 'a')")
    connection.close()

    def run(sql: str) -> None:
        _read(path, sql=sql or " ")

    return run


# -- what a model says --------------------------------------------------------------------------------


def _answer(said: list[str]) -> None:
    from ragqa.answer.citations import without_strangers
    from ragqa.answer.claims import claims_nothing, content_words, unmarked
    from ragqa.answer.refusal import is_refusal
    from ragqa.answer.sentences import answer_sentences
    from ragqa.answer.stream import AnswerStream

    stream = AnswerStream([1, 2, 3])
    told = [stream.add(piece) for piece in said] + [stream.finish()]
    text = "".join(told)
    assert text == stream.text == without_strangers("".join(said), [1, 2, 3])[0]
    is_refusal(text)
    place = 0
    for start, end in answer_sentences(text):
        assert place <= start < end <= len(text)
        place = end
        claims_nothing(text[start:end])
        content_words(unmarked(text[start:end]))
