from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from ragqa.config import dump_config, parse_config
from ragqa.corpus.database import Corpus
from ragqa.errors import UsageError
from ragqa.where import (
    MAX_CHARACTERS,
    Comparison,
    Condition,
    Every,
    Negation,
    Some,
    join_where,
    parse_where,
    sqlite_condition,
    unknown_keys,
)

ODD_KEYS = {'my "key"': 1, "a.b": 2, "it's": 3, "größe": 4, "🙂": 5, "$": 6, "back\\slash": 7, "x[0]": 8}

# What the documents say of themselves, by id; "bare" says nothing.
DOCUMENTS: dict[str, dict[str, Any]] = {
    "wal": {"topic": "sqlite", "year": 2020, "tags": ["db", "Files"], "published": True},
    "fts": {"topic": "sqlite", "year": 2022, "tags": ["db", "search", 7], "published": False},
    "venv": {"topic": "python", "year": "2020", "tags": "db", "rating": 4.5},
    "null": {"topic": None, "year": None, "tags": [], "nested": {"topic": "sqlite"}, "deep": [["db"]]},
    "odd": ODD_KEYS,
    "bare": {},
}
ALL = set(DOCUMENTS)


def equal(field: str, *values: Any) -> Comparison:
    return Comparison(field, "=", values)


NO_TOPIC = Comparison("topic", "null", ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("topic = 'sqlite'", equal("topic", "sqlite")),
        ("topic == 'it''s'", equal("topic", "it's")),
        ("Topic <> 'a'", Comparison("Topic", "!=", ("a",))),
        ("year >= -2.5", Comparison("year", ">=", (-2.5,))),
        ("2020 <= year", Comparison("year", ">=", (2020,))),
        ("2020 > year", Comparison("year", "<", (2020,))),
        ("published = TRUE", equal("published", True)),
        ('"my ""key""" = 1', equal('my "key"', 1)),
        ("order = 1 or date = 'x'", Some((equal("order", 1), equal("date", "x")))),
        ("title like 'A%'", Comparison("title", "like", ("A%",))),
        ("topic in ('a', -1, 2.5)", Comparison("topic", "in", ("a", -1, 2.5))),
        ("topic is null", NO_TOPIC),
        ("topic is not null", Negation(NO_TOPIC)),
        ("not topic is null", Negation(NO_TOPIC)),
        ("a between 1 and 3", Every((Comparison("a", ">=", (1,)), Comparison("a", "<=", (3,))))),
        ("a = 1 or b = 2 and c = 3", Some((equal("a", 1), Every((equal("b", 2), equal("c", 3)))))),
        ("(a = 1 or b = 2) and c = 3", Every((Some((equal("a", 1), equal("b", 2))), equal("c", 3)))),
        ("not topic = 'a'", Comparison("topic", "!=", ("a",))),
        ("not not topic = 'a'", equal("topic", "a")),
        (
            "not (a = 1 or b != 2)",
            Every((Comparison("a", "!=", (1,)), equal("b", 2))),
        ),
        (
            "topic not in ('a')",
            Every((Negation(NO_TOPIC), Negation(Comparison("topic", "in", ("a",))))),
        ),
        (
            "topic not like 'a'",
            Every((Negation(NO_TOPIC), Negation(Comparison("topic", "like", ("a",))))),
        ),
    ],
)
def test_what_is_written_is_what_is_meant(text: str, expected: Condition) -> None:
    assert parse_where(text) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("topic =", "cannot be read at «=»"),
        ("topic 'a'", "cannot be read at «'a'»"),
        ("(topic = 'a'", "cannot be read at «'a'»"),
        ("topic = 'a')", "cannot be read at «)»"),
        ("from = 'a'", "a name that SQL uses goes in double quotes"),
        ("topic = 'a", "has a quote or a bracket that is not closed"),
        ('topic = "sqlite"', "has a name where a value belongs, «\"sqlite\"» (a text is 'sqlite')"),
        ("topic = other", "has a name where a value belongs, «other»"),
        ("topic", "compares «topic» with nothing"),
        ("1 = 1", "has a value where a name belongs, «1»"),
        ("topic = 'a' OR 1=1", "has a value where a name belongs, «1»"),
        ("topic = 'a' OR 1=1 --", "has a comment in it"),
        ("topic = /* b */ 'a'", "has a comment in it, «b»"),
        ("topic = 'a'; DROP TABLE documents", "has a semicolon in it"),
        ("lower(topic) = 'a'", "has a function in it, «LOWER(topic)»"),
        ("topic = current_date", "has a function in it, «CURRENT_DATE»"),
        ("cast(a as int) = 1", "has a function in it, «CAST(a AS INTEGER)»"),
        ("case when a = 1 then 1 end", "has a function in it"),
        ("topic in (select id from documents)", "has a subquery in it, «(SELECT id FROM documents)»"),
        ("exists (select 1)", "has a subquery in it"),
        ("topic in b", "«b»"),
        ("topic in ()", "has no values after IN"),
        ("a = 1 + 2", "has arithmetic in it, «1 + 2»"),
        ("date >= 2024-01-01", "has arithmetic in it, «2024 - 01 - 01»"),
        ("a = 'x' || 'y'", "has arithmetic in it"),
        ("a = ?", "has a parameter in it, «?»"),
        ("a = :name", "has a parameter in it"),
        ("a = @name", "has a parameter in it"),
        ("$a = 1", 'goes in double quotes: "$a"'),
        ("a.b = 1", 'goes in double quotes: "a.b"'),
        ("a -> 'b' = 1", "has an operator that is not known here, «->»"),
        ("a glob 'x*'", "has an operator that is not known here"),
        ("a like 'x' escape '!'", "has an operator that is not known here"),
        ("a like 1", "has no text after LIKE"),
        ("a = null", "which is IS NULL or IS NOT NULL"),
        ("a is true", "has an operator that is not known here"),
        ("1 < a < 3", "has a condition where a name or a value belongs"),
        ("(a, b) = (1, 2)", "has something unknown in it"),
        ("a = x'ab'", "has something unknown in it"),
        ("a = 1e999", "has a number that is too large"),
        ("a = " + "9" * 400, "has a number that is too large"),
        ("a = '\0'", "has characters in it that are no text"),
        ("a = '\ud800'", "has characters in it that are no text"),
    ],
)
def test_anything_else_is_refused_by_name_with_an_example(text: str, problem: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_where(text)
    message = str(raised.value)
    assert problem in message
    assert message.endswith("an example: topic = 'sqlite' AND year >= 2020.")
    assert message.encode("utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "a" * (MAX_CHARACTERS + 1),
        "(" * 1900,
        "(" * 21 + "a = 1" + ")" * 21,
        "not " * 490 + "a = 1",
        "a = " + "- " * 900 + "1",
        "a = " * 490 + "1",
        "case when " * 190,
        "a[" * 900,
        "{" * 1900,
        "a = 1 or " * 150 + "a = 1",
        "array<" * 300,
        "f(" * 900,
        "x'" * 900,
        "/*" * 900,
    ],
)
def test_hostile_conditions_are_refused_at_once(text: str) -> None:
    started = time.monotonic()
    with pytest.raises(UsageError, match=r"^The condition .{1,300}an example"):
        parse_where(text)
    assert time.monotonic() - started < 2


def test_several_conditions_must_all_hold_and_each_be_one() -> None:
    assert join_where(["a = 1"]) == "a = 1"
    assert join_where(["", " "]) == ""
    joined = parse_where(join_where(["a = 1 or b = 2", "c = 3"]))
    assert joined == Every((Some((equal("a", 1), equal("b", 2))), equal("c", 3)))
    with pytest.raises(UsageError, match=r"cannot be read at «\) or"):
        join_where(["a = 1) or (b = 2", "c = 3"])


# -- what SQLite lets through -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def connection() -> Iterator[sqlite3.Connection]:
    with Corpus.temporary() as corpus:
        corpus.connection.executemany(
            "INSERT INTO documents (id, title, source, metadata, text, format, origin, content_hash,"
            " ingested_at) VALUES (?, ?, ?, ?, '', 'text', '', '', '')",
            [
                (name, name.upper(), f"https://example.com/{name}", json.dumps(metadata))
                for name, metadata in DOCUMENTS.items()
            ],
        )
        yield corpus.connection


LetThrough = Callable[[str], set[str]]


@pytest.fixture
def let_through(connection: sqlite3.Connection) -> LetThrough:
    def ids(text: str) -> set[str]:
        sql, values = sqlite_condition(parse_where(text))
        rows = connection.execute(f"SELECT d.id FROM documents AS d WHERE {sql}", values).fetchall()
        return {row[0] for row in rows}

    return ids


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("topic = 'sqlite'", ["wal", "fts"]),
        ("topic = 'SQLITE'", []),
        ("Topic = 'sqlite'", []),
        ("topic > 'python'", ["wal", "fts"]),
        # Texts are no numbers.
        ("year = 2020", ["wal"]),
        ("year = '2020'", ["venv"]),
        ("year >= 2020", ["wal", "fts"]),
        ("year >= '2020'", ["venv"]),
        ("year between 2021 and 2023", ["fts"]),
        ("year not between 2021 and 2023", ["wal", "venv"]),
        ("year in ('2020', 2022.0)", ["fts", "venv"]),
        ("rating > 4", ["venv"]),
        # Truths are 1 and 0.
        ("published = true", ["wal"]),
        ("published = 0", ["fts"]),
        # Any element of a list.
        ("tags = 'db'", ["wal", "fts", "venv"]),
        ("tags = 7", ["fts"]),
        ("tags in ('search', 'nothing')", ["fts"]),
        ("tags like 'FI%'", ["wal"]),
        ("tags != 'search'", ["wal", "venv"]),
        ("tags = 'db' and tags = 'search'", ["fts"]),
        ("deep = 'db'", []),
        ("nested = 'sqlite'", []),
        # No value: null, an empty list, a mapping, no such key.
        ("topic is null", ["null", "odd", "bare"]),
        ("tags is null", ["null", "odd", "bare"]),
        ("nested is null", list(DOCUMENTS)),
        ("topic is not null", ["wal", "fts", "venv"]),
        ("topic != 'sqlite'", ["venv"]),
        ("not topic = 'sqlite'", ["venv"]),
        ("topic not in ('sqlite')", ["venv"]),
        ("topic not like 's%'", ["venv"]),
        ("not (topic = 'sqlite' or year = 1)", ["venv"]),
        ("not (topic = 'sqlite' and year = 2020)", ["fts", "venv"]),
        ("nothing != 'a'", []),
        # LIKE takes text alone, and no notice of the case of ASCII letters.
        ("topic like '%QL%'", ["wal", "fts"]),
        ("topic like '______'", ["wal", "fts", "venv"]),
        ("year like '20%'", ["venv"]),
        # The document's own.
        ("id = 'wal' or title = 'FTS'", ["wal", "fts"]),
        ("title like 'v%'", ["venv"]),
        ("source >= 'https://example.com/v'", ["venv", "wal"]),
        ("id in ('wal', 'bare', 3)", ["wal", "bare"]),
        ("id != 'wal' and id is not null", [name for name in DOCUMENTS if name != "wal"]),
        ("id != 3", list(DOCUMENTS)),
        ("title is null", []),
        ("id = 3", []),
    ],
)
def test_documents_are_let_through_as_said(let_through: LetThrough, text: str, expected: list[str]) -> None:
    assert let_through(text) == set(expected)


@pytest.mark.parametrize(("key", "value"), ODD_KEYS.items())
def test_a_key_is_looked_up_as_it_is(let_through: LetThrough, key: str, value: int) -> None:
    quoted = key.replace('"', '""')
    assert let_through(f'"{quoted}" = {value}') == {"odd"}
    assert let_through(f'"{quoted}" = {value + 100}') == set()


@pytest.mark.parametrize(
    "text",
    [
        "topic = ''' OR 1=1 --'",
        "topic = 'sqlite'' OR ''1''=''1'",
        "topic = '\"; DROP TABLE documents; --'",
        "\"topic' = 1 OR 1=1 --\" = 'a'",
        "\"') OR 1=1 --\" = 'a'",
        "\"$.topic') or json_type('{}\" = 'a'",
        "topic in ('\"]) OR 1=1 --', '\"')",
        "id = 'x'' OR 1=1 --'",
        "title like ''' OR 1=1 --'",
    ],
)
def test_nothing_that_is_written_becomes_sql(let_through: LetThrough, text: str) -> None:
    sql, _ = sqlite_condition(parse_where(text))
    assert "1=1" not in sql
    assert "DROP" not in sql
    assert let_through(text) == set()
    assert let_through("id is not null") == ALL


def test_the_largest_condition_is_answered(let_through: LetThrough) -> None:
    said = " or ".join(f"a!={number}" for number in range(100))
    deep = "(" * 18 + said + ")" * 18
    assert let_through(deep) == set()
    many = ", ".join(map(str, range(300)))
    assert let_through(f"tags in ({many})") == {"fts"}


def test_a_pattern_that_makes_like_try_everything_is_answered(connection: sqlite3.Connection) -> None:
    sql, values = sqlite_condition(parse_where("title like '" + "%a" * 900 + "b'"))
    connection.execute("UPDATE documents SET title = ? WHERE id = 'bare'", ["a" * 20_000])
    started = time.monotonic()
    assert not connection.execute(f"SELECT 1 FROM documents AS d WHERE {sql}", values).fetchall()
    assert time.monotonic() - started < 5
    connection.execute("UPDATE documents SET title = 'BARE' WHERE id = 'bare'")


def test_a_key_that_no_document_has_is_said_with_the_nearest_first(connection: sqlite3.Connection) -> None:
    def said(text: str) -> Sequence[str]:
        return unknown_keys(connection, parse_where(text))

    assert said("topic = 'a' and id = 'b' and tags is null") == []
    (sentence,) = said("topci = 'a' or topci = 'b'")
    assert sentence.startswith("No document has the metadata key 'topci'. Known: topic, ")
    assert len(said("one = 1 or not two = 2")) == 2


# -- in a config ------------------------------------------------------------------------------------


def test_a_config_has_a_condition_that_decides_its_results() -> None:
    plain = parse_config({"retrieve": {"type": "fts"}}, "mine")
    narrow = parse_config({"retrieve": {"type": "fts"}, "where": "topic = 'sqlite'"}, "mine")
    assert (plain.where, narrow.where) == ("", "topic = 'sqlite'")
    assert dump_config(plain) != dump_config(narrow)


def test_a_condition_that_cannot_be_read_is_an_error_of_its_key() -> None:
    with pytest.raises(UsageError, match=r"The config mine is wrong: where: .*«topic =» cannot be read"):
        parse_config({"retrieve": {"type": "fts"}, "where": "topic ="}, "mine")
