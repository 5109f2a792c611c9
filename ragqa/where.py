"""Conditions on documents, in SQL's words: `topic = 'sqlite' AND year >= 2020`.

A condition is read with a parser of SQL into a few values of our own, and what goes to SQLite is made anew
of these: nothing that a user wrote is ever part of a statement.

A name is a key of the documents' metadata, and `id`, `title` and `source` are the document's own. A key has
values: the text, number or truth that it holds, or each of a list's; null, an empty list and a mapping are
none. A comparison holds when it holds for any value of the key. Texts are compared with texts, by code point,
and numbers with numbers, true being 1 and false 0. A document without a value of the key is let through by
IS NULL alone, as in SQL: `topic != 'a'` and `NOT topic = 'a'` want a topic, none of which is 'a'.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ragqa.errors import UsageError

if TYPE_CHECKING:
    import sqlite3

    from sqlglot import exp

# Enough for any condition that a person writes; more costs time at every change of the corpus.
MAX_CHARACTERS = 2_000
MAX_DEPTH = 20
MAX_COMPARISONS = 100

OWN = ("id", "source", "title")
EXAMPLE = "topic = 'sqlite' AND year >= 2020"

# How many keys of the documents' metadata a message names.
_NAMED = 10
_SHOWN = 60
_PLAIN_NAME = re.compile(r"[^\W\d]\w*")

Value: TypeAlias = str | float | int | bool
Operator = Literal["=", "!=", "<", "<=", ">", ">=", "like", "in", "null"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A key compared with values: one of them, several with "in", none with "null".

    "!=" is that the key has a value and none equals. "like" is SQLite's LIKE: % and _ stand for any letters
    and for one, and the case of ASCII letters does not matter.
    """

    field: str
    operator: Operator
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Every:
    """All parts hold."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """One of the parts holds, or more."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """The part does not hold. For a key without values that is true: SQL's NOT is not made of this alone."""

    part: Condition


Condition: TypeAlias = Comparison | Every | Some | Negation


# -- reading ----------------------------------------------------------------------------------------


def parse_where(text: str) -> Condition:
    """Return the condition that `text` says; raises UsageError with what is wrong, where, and an example."""
    if not text.strip():
        raise _wrong(text, "is empty")
    if len(text) > MAX_CHARACTERS:
        raise _wrong(text, f"is {len(text):,} characters long, and at most {MAX_CHARACTERS:,} are read")
    if "\0" in text or text != text.encode("utf-8", "replace").decode("utf-8"):
        raise _wrong(text, "has characters in it that are no text")
    from sqlglot.errors import ParseError, TokenError

    try:
        condition = _Reader(text).read()
    except TokenError as error:
        raise _wrong(text, "has a quote or a bracket that is not closed") from error
    except ParseError as error:
        found = error.errors[0] if error.errors else {}
        rest = f"{found.get('highlight', '')}{found.get('end_context', '')}"
        problem = f"cannot be read at {_clipped(rest)} (a name that SQL uses goes in double quotes)"
        raise _wrong(text, problem) from error
    except RecursionError as error:
        raise _wrong(text, "is nested too deeply") from error
    if sum(1 for _ in _comparisons(condition)) > MAX_COMPARISONS:
        raise _wrong(text, f"compares more than {MAX_COMPARISONS} times")
    return condition


def join_where(texts: Sequence[str]) -> str:
    """Return the condition that all of `texts` hold, each checked by itself; "" when all are empty."""
    said = [text for text in texts if text.strip()]
    for text in said:
        parse_where(text)
    return said[0] if len(said) == 1 else " AND ".join(f"({text})" for text in said)


def _wrong(text: str, problem: str) -> UsageError:
    return UsageError(f"The condition {_clipped(text)} {problem}; an example: {EXAMPLE}.")


def _clipped(text: str) -> str:
    text = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    return f"«{text}»" if len(text) <= _SHOWN else f"«{text[:_SHOWN]}…»"


class _Reader:
    """Walks sqlglot's tree of a condition, and lets through only what it knows."""

    def __init__(self, text: str) -> None:
        from sqlglot import exp

        self.text = text
        self.comparisons: dict[type[exp.Expr], tuple[Operator, Operator]] = {
            # The operator, and that of the comparison with its sides exchanged.
            exp.EQ: ("=", "="),
            exp.NEQ: ("!=", "!="),
            exp.LT: ("<", ">"),
            exp.LTE: ("<=", ">="),
            exp.GT: (">", "<"),
            exp.GTE: (">=", "<="),
        }

    def read(self) -> Condition:
        from sqlglot import TokenType, exp
        from sqlglot.dialects.dialect import Dialect

        dialect = Dialect.get_or_raise("sqlite")
        depth = 0
        for token in dialect.tokenize(self.text):
            depth += (token.token_type == TokenType.L_PAREN) - (token.token_type == TokenType.R_PAREN)
            if depth > MAX_DEPTH:
                raise _wrong(self.text, f"has more than {MAX_DEPTH} brackets within each other")
            if token.comments:
                raise _wrong(self.text, f"has a comment in it, {_clipped(token.comments[0])}")
            if token.token_type in (TokenType.ARROW, TokenType.DARROW):
                # Refused here because sqlglot logs what it thinks of the path that follows.
                raise _wrong(self.text, f"has an operator that is not known here, «{token.text}»")
            if token.token_type == TokenType.SEMICOLON:
                raise _wrong(self.text, "has a semicolon in it, and must be one condition")
        tree = next(iter(dialect.parse_into(exp.Condition, self.text)), None)
        if tree is None:
            raise _wrong(self.text, "says nothing")
        return self.condition(tree, True)

    def condition(self, node: exp.Expr, wanted: bool) -> Condition:
        """Return what `node` says or, unless `wanted`, that SQL finds it false: NOT moves to the leaves."""
        from sqlglot import exp

        if isinstance(node, exp.Paren):
            return self.condition(node.this, wanted)
        if isinstance(node, exp.Not):
            return self.condition(node.this, not wanted)
        if isinstance(node, exp.And | exp.Or):
            parts = tuple(self.condition(part, wanted) for part in node.flatten())
            return Every(parts) if isinstance(node, exp.And) is wanted else Some(parts)
        if isinstance(node, exp.Between):
            self.only(node, "this", "low", "high")
            name = self.name(node.this)
            low, high = self.value(node.args["low"]), self.value(node.args["high"])
            ends = (Comparison(name, ">=", (low,)), Comparison(name, "<=", (high,)))
            return Every(ends) if wanted else Some(tuple(_denied(end) for end in ends))
        if isinstance(node, exp.Like):
            wanted = wanted is not bool(node.args.get("negate"))
        comparison = self.comparison(node)
        return comparison if wanted else _denied(comparison)

    def comparison(self, node: exp.Expr) -> Comparison:
        from sqlglot import exp

        if isinstance(node, exp.In):
            self.only(node, "this", "expressions")
            if not node.expressions:
                raise _wrong(self.text, f"has no values after IN at {self.shown(node)}")
            return Comparison(self.name(node.this), "in", tuple(map(self.value, node.expressions)))
        if isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
            self.only(node, "this", "expression")
            return Comparison(self.name(node.this), "null", ())
        if isinstance(node, exp.Like):
            self.only(node, "this", "expression", "negate")
            pattern = self.value(node.expression)
            if not isinstance(pattern, str):
                raise _wrong(self.text, f"has no text after LIKE at {self.shown(node)}")
            return Comparison(self.name(node.this), "like", (pattern,))
        if type(node) not in self.comparisons:
            if isinstance(node, exp.Column | exp.Boolean | exp.Literal):
                raise _wrong(self.text, f"compares {self.shown(node)} with nothing")
            raise self.stranger(node)
        self.only(node, "this", "expression")
        operator, exchanged = self.comparisons[type(node)]
        left, right = node.this, node.expression
        if isinstance(right, exp.Column) and not isinstance(left, exp.Column):
            left, right, operator = right, left, exchanged
        return Comparison(self.name(left), operator, (self.value(right),))

    def name(self, node: exp.Expr) -> str:
        from sqlglot import exp

        if not isinstance(node, exp.Column):
            if isinstance(node, exp.Literal | exp.Neg | exp.Boolean | exp.Null):
                raise _wrong(self.text, f"has a value where a name belongs, {self.shown(node)}")
            raise self.stranger(node)
        identifier = node.this
        if not isinstance(identifier, exp.Identifier):
            raise self.stranger(identifier)
        named: str = identifier.this
        plain = identifier.args.get("quoted") or _PLAIN_NAME.fullmatch(named)
        if len(node.parts) > 1 or not plain:
            whole = ".".join(part.name for part in node.parts)
            raise _wrong(self.text, f'has a name with odd characters, which goes in double quotes: "{whole}"')
        return named

    def value(self, node: exp.Expr) -> Value:
        from sqlglot import exp

        if isinstance(node, exp.Boolean):
            return bool(node.this)
        if isinstance(node, exp.Literal) and node.is_string:
            return str(node.this)
        if isinstance(node, exp.Literal):
            return self.number(node, str(node.this))
        if isinstance(node, exp.Neg) and isinstance(node.this, exp.Literal) and not node.this.is_string:
            return -self.number(node, str(node.this.this))
        if isinstance(node, exp.Column):
            text = f"'{node.name}'" if "'" not in node.name else "'…'"
            raise _wrong(
                self.text, f"has a name where a value belongs, {self.shown(node)} (a text is {text})"
            )
        if isinstance(node, exp.Null):
            raise _wrong(self.text, "compares with NULL, which is IS NULL or IS NOT NULL")
        raise self.stranger(node)

    def number(self, node: exp.Expr, text: str) -> float | int:
        try:
            number = int(text) if text.isdecimal() else float(text)
        except ValueError as error:
            raise self.stranger(node) from error
        if isinstance(number, int) and number >= 2**63:
            number = float(number) if len(text) < 300 else math.inf
        if not math.isfinite(number):
            raise _wrong(self.text, f"has a number that is too large, {self.shown(node)}")
        return number

    def only(self, node: exp.Expr, *known: str) -> None:
        """Refuse a node that says more than its parts `known`."""
        for key, value in node.args.items():
            if value and key not in known:
                raise self.stranger(value if hasattr(value, "sql") else node)

    def stranger(self, node: exp.Expr) -> UsageError:
        """Return the error for what is not on the list, which names it."""
        from sqlglot import exp

        kinds: list[tuple[tuple[type[Any], ...], str]] = [
            ((exp.Query, exp.Exists), "a subquery"),
            ((exp.Placeholder, exp.Parameter), "a parameter"),
            ((exp.And, exp.Or, exp.Not, exp.Predicate), "a condition where a name or a value belongs"),
            ((exp.Func, exp.Case), "a function"),
            ((exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Neg, exp.DPipe), "arithmetic"),
        ]
        if type(node).__name__ in ("Glob", "RegexpLike", "Match", "ILike", "Escape", "Is", "NullSafeNEQ"):
            return _wrong(self.text, f"has an operator that is not known here, {self.shown(node)}")
        what = next((what for types, what in kinds if isinstance(node, types)), "something unknown")
        return _wrong(self.text, f"has {what} in it, {self.shown(node)}")

    def shown(self, node: exp.Expr) -> str:
        from sqlglot import ErrorLevel

        return _clipped(node.sql(dialect="sqlite", unsupported_level=ErrorLevel.IGNORE))


def _denied(comparison: Comparison) -> Condition:
    """Return that SQL finds a comparison false: for a key without values it is neither true nor false."""
    if comparison.operator == "null":
        return Negation(comparison)
    if comparison.operator in ("=", "!="):
        exchanged: Operator = "=" if comparison.operator == "!=" else "!="
        return Comparison(comparison.field, exchanged, comparison.values)
    return Every((Negation(Comparison(comparison.field, "null", ())), Negation(comparison)))


def names(condition: Condition) -> list[str]:
    """Return the names that a condition compares, each once."""
    return list(dict.fromkeys(comparison.field for comparison in _comparisons(condition)))


def _comparisons(condition: Condition) -> Iterator[Comparison]:
    if isinstance(condition, Comparison):
        yield condition
    elif isinstance(condition, Negation):
        yield from _comparisons(condition.part)
    else:
        for part in condition.parts:
            yield from _comparisons(part)


# -- asking SQLite ----------------------------------------------------------------------------------

# The values of a key: the one that it holds, or those of its list.
_TYPE = "iif(k.type = 'array', v.type, k.type)"
_VALUE = "iif(k.type = 'array', v.value, k.value)"
_VALUES = (
    "EXISTS (SELECT 1 FROM json_each(d.metadata) AS k, json_each(iif(k.type = 'array', k.value, '[0]')) AS v"
    " WHERE k.key = ? AND "
)
_TEXTS = f"{_TYPE} = 'text'"
_NUMBERS = f"{_TYPE} IN ('integer', 'real', 'true', 'false')"


def sqlite_condition(condition: Condition) -> tuple[str, list[Any]]:
    """Return an SQL expression over `documents AS d` and the values bound to its question marks."""
    if isinstance(condition, Comparison):
        return _compared(condition)
    if isinstance(condition, Negation):
        sql, values = sqlite_condition(condition.part)
        return f"NOT {sql}", values
    made = [sqlite_condition(part) for part in condition.parts]
    joint = " AND " if isinstance(condition, Every) else " OR "
    return f"({joint.join(sql for sql, _ in made)})", [value for _, values in made for value in values]


def _compared(comparison: Comparison) -> tuple[str, list[Any]]:
    if comparison.operator == "!=":
        without, key = _compared(Comparison(comparison.field, "null", ()))
        equal, values = _compared(Comparison(comparison.field, "=", comparison.values))
        return f"(NOT {without} AND NOT {equal})", [*key, *values]
    texts = [value for value in comparison.values if isinstance(value, str)]
    numbers = [value for value in comparison.values if not isinstance(value, str)]
    if comparison.field in OWN:
        # Texts that are always there, so that none is null or equals a number.
        column = f"d.{comparison.field}"
        return _test(column, comparison.operator, texts) if texts else ("0", [])
    if comparison.operator == "null":
        return f"NOT {_VALUES}({_TEXTS} OR {_NUMBERS}))", [comparison.field]
    parts, bound = [], [comparison.field]
    for kind, wanted in ((_TEXTS, texts), (_NUMBERS, numbers)):
        if wanted:
            sql, values = _test(_VALUE, comparison.operator, wanted)
            parts.append(f"{kind} AND {sql}")
            bound += values
    return f"{_VALUES}({' OR '.join(parts)}))", bound


def _test(column: str, operator: Operator, values: Sequence[Value]) -> tuple[str, list[Any]]:
    if operator == "in":
        return f"{column} IN (SELECT value FROM json_each(?))", [json.dumps(values)]
    return f"{column} {operator.upper()} ?", [*values]


def allowed_passages(connection: sqlite3.Connection, condition: Condition) -> frozenset[int]:
    """Return the keys of the passages whose documents a condition lets through."""
    sql, values = sqlite_condition(condition)
    rows = connection.execute(
        f"SELECT rowid FROM passages WHERE document IN (SELECT d.rowid FROM documents AS d WHERE {sql})",
        values,
    )
    return frozenset(row[0] for row in rows)


def unknown_keys(connection: sqlite3.Connection, condition: Condition) -> list[str]:
    """Return a sentence for each key of a condition that no document has, with the keys that there are."""
    rows = connection.execute("SELECT DISTINCT k.key FROM documents AS d, json_each(d.metadata) AS k")
    known = sorted({*OWN, *(row[0] for row in rows)})
    return [_unknown(key, known) for key in names(condition) if key not in known]


def _unknown(key: str, known: Sequence[str]) -> str:
    near = get_close_matches(key, known, _NAMED)
    named = [*near, *(name for name in known if name not in near)][:_NAMED]
    more = ", …" if len(named) < len(known) else ""
    return f"No document has the metadata key {key!r}. Known: {', '.join(named)}{more}."
