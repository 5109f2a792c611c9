"""Source code: a function or class is a part, with its qualified name; lines are those of the file."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator

from ragqa.sources.loader import File
from ragqa.sources.source import Item, Skipped
from ragqa.sources.text import clean, decode, read_file
from ragqa.types import Document, Part, Parts

# What begins a definition in the usual languages, at the margin or indented once: a word that says so, then a
# name; or, as in C, a name before a bracket at the end of whose line a block begins.
_KEYWORD = (
    r"function\*?|class|interface|trait|struct|enum|union|impl|fn|func|fun|def|module|namespace|object|record|"
    r"protocol|extension|type"
)
_DEFINITION = re.compile(
    rf"^(?P<indent>[ \t]{{0,4}})(?:(?:export|default|public|private|protected|internal|static|abstract|final|"
    rf"async|pub(?:\([^)]*\))?|unsafe|open|override|data|sealed|inline|virtual|const|local)[ \t]+){{0,6}}"
    rf"(?:(?:{_KEYWORD})[ \t]+(?:\([^)]*\)[ \t]*)?(?P<name>[A-Za-z_$][\w$:.]*)"
    rf"|(?:create[ \t]+(?:or[ \t]+replace[ \t]+)?(?:table|view|function|procedure|trigger|index)[ \t]+"
    rf"(?:if[ \t]+not[ \t]+exists[ \t]+)?(?P<sql>[\w.\"]+))"
    rf"|(?:[A-Za-z_][\w<>,:*&\[\] \t]*[ \t*&])?(?P<called>[A-Za-z_~][\w:~]*)[ \t]*"
    rf"\([^;{{}}]*\)[^;{{}}=]*\{{[ \t]*$)",
    re.M | re.I,
)
_NO_NAMES = frozenset(
    {"if", "for", "while", "switch", "catch", "return", "else", "do", "try", "with", "match"}
)
# What stands right above a definition belongs to it: comments, decorators, attributes.
_ABOVE = re.compile(r"[ \t]*(?://|#|--|/\*|\*|@|\[)")


def read_python(file: File) -> Iterator[Item]:
    """Yield a module's document, cut where functions and classes begin."""
    text = clean(decode(read_file(file.path)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # An older Python's, or a template: its definitions can be told by their first lines all the same.
        yield _document(file, text, _by_pattern(text))
        return
    yield _document(file, text, list(_of_python(tree, "")))


def read_other(file: File) -> Iterator[Item]:
    """Yield a file's document, cut where lines look like the beginning of a definition."""
    text = clean(decode(read_file(file.path)))
    yield _document(file, text, _by_pattern(text))


def _of_python(tree: ast.AST, within: str) -> Iterator[tuple[int, str]]:
    """Yield each function's and class's first line, from 1, and qualified name; none within functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{within}.{node.name}" if within else node.name
            yield min([node.lineno, *(one.lineno for one in node.decorator_list)]), name
            if isinstance(node, ast.ClassDef):
                yield from _of_python(node, name)


def _by_pattern(text: str) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    outer = ""
    line, counted = 1, 0
    for match in _DEFINITION.finditer(text):
        name = (match["name"] or match["sql"] or match["called"]).strip('"')
        if name.lower() in _NO_NAMES:
            continue
        if not match["indent"]:
            outer = name
        line += text.count("\n", counted, match.start())
        counted = match.start()
        found.append((line, name if not match["indent"] or not outer else f"{outer}.{name}"))
    return found


def _document(file: File, text: str, definitions: list[tuple[int, str]]) -> Document | Skipped:
    if not text.strip():
        return Skipped(file.name, "empty")
    starts = [0]
    lines = text.split("\n")
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    parts = [Part(0, first=1)]
    for number, name in sorted(definitions):
        first = number - 1
        while first > 0 and _ABOVE.match(lines[first - 1]):
            first -= 1
        if starts[first] > parts[-1].start:
            parts.append(Part(starts[first], first=first + 1, headings=(name,)))
        else:
            parts[-1] = Part(parts[-1].start, first=parts[-1].first, headings=(name,))
    return Document(file.name, file.path.name, text, file.source, {}, "text", Parts("line", tuple(parts)))
