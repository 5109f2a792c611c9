"""A condition on metadata in the words of Lance, which takes SQL without parameters.

What is said is made anew from the parsed condition: column names are our own, strings are quoted here.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from string import ascii_lowercase, ascii_uppercase

from ragqa.errors import UsageError
from ragqa.index.lance.layout import NUMBER, NUMBERS, TEXT, TEXTS, metadata_column
from ragqa.where import Comparison, Condition, Every, Negation, Some, names

_SMALL = str.maketrans(ascii_uppercase, ascii_lowercase)
_OWN = {"id": "document_id", "title": "title", "source": "source"}


def lance_condition(condition: Condition, columns: Set[str]) -> str:
    """Return SQL that lets the same passages through as `sqlite_condition` does.

    `columns` are those that the dataset has. Raises UsageError for what Lance cannot ask of a list.
    """
    if isinstance(condition, Every | Some):
        joint = " AND " if isinstance(condition, Every) else " OR "
        return "(" + joint.join(lance_condition(part, columns) for part in condition.parts) + ")"
    if isinstance(condition, Negation):
        return f"(NOT {lance_condition(condition.part, columns)})"
    return _comparison(condition, columns)


def unknown_keys(condition: Condition, columns: Set[str]) -> list[str]:
    """Return a sentence for each key of a condition that no document of the dataset has."""
    unknown = [name for name in names(condition) if not list(_has(name, columns))]
    return [f"No document there has the metadata key {name!r}." for name in unknown]


def _comparison(comparison: Comparison, columns: Set[str]) -> str:
    if comparison.operator == "null":
        return f"(NOT {_any(_has(comparison.field, columns))})"
    if comparison.operator == "!=":
        same = Comparison(comparison.field, "=", comparison.values)
        return f"({_any(_has(comparison.field, columns))} AND NOT {_any(_matches(same, columns))})"
    return _any(_matches(comparison, columns))


def _any(parts: Iterator[str]) -> str:
    """Return that one of the parts is true; a missing value makes a part false, as in SQLite's EXISTS."""
    said = [f"coalesce({part}, false)" for part in parts]
    return "(" + " OR ".join(said) + ")" if said else "false"


def _has(field: str, columns: Set[str]) -> Iterator[str]:
    if field in _OWN:
        yield f"{_OWN[field]} IS NOT NULL"
        return
    for kind in (TEXT, NUMBER, TEXTS, NUMBERS):
        if metadata_column(field, kind) in columns:
            yield f"{metadata_column(field, kind)} IS NOT NULL"


def _matches(comparison: Comparison, columns: Set[str]) -> Iterator[str]:
    """Yield what compares the field's columns with those of the values that are of their kind."""
    for single, several, values in (
        (TEXT, TEXTS, [value for value in comparison.values if isinstance(value, str)]),
        (NUMBER, NUMBERS, [value for value in comparison.values if not isinstance(value, str)]),
    ):
        if not values:
            continue
        column = _OWN.get(comparison.field, metadata_column(comparison.field, single))
        if column in columns and (single == TEXT or comparison.field not in _OWN):
            yield from (_compared(column, comparison.operator, value) for value in values)
        listed = metadata_column(comparison.field, several)
        if listed in columns and comparison.field not in _OWN:
            if comparison.operator not in ("=", "in"):
                raise UsageError(
                    f"{comparison.field!r} has lists of values, and a Lance dataset can only be asked for "
                    "one that is in them: = or IN."
                )
            yield from (f"array_has({listed}, {_literal(value)})" for value in values)


def _compared(column: str, operator: str, value: str | float) -> str:
    if operator == "like":
        # SQLite's LIKE has no way to escape a wildcard, and does not mind the case of ASCII letters alone.
        pattern = str(value).translate(_SMALL).replace("\\", "\\\\")
        return f"translate({column}, '{ascii_uppercase}', '{ascii_lowercase}') LIKE {_literal(pattern)}"
    return f"{column} {'=' if operator == 'in' else operator} {_literal(value)}"


def _literal(value: str | float) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(float(value))
