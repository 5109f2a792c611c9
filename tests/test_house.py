"""The plan of the house: imports go one way, and the workshop stays outside."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]


def imports() -> dict[str, set[str]]:
    """Return, by module of ragqa, the modules that it names in an import: anywhere, for type checkers too."""
    paths = {_module(path): path for path in (ROOT / "ragqa").rglob("*.py")}
    found: dict[str, set[str]] = {name: set() for name in paths}
    for name, path in paths.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                wanted = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                wanted = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for one in wanted:
                # `from ragqa.corpus import database` names a module, `from ragqa.types import Hit` does not.
                taken = one if one in paths else one.rpartition(".")[0]
                if taken in paths:
                    found[name].add(taken)
    return found


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_import_goes_in_a_circle() -> None:
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        raise AssertionError(f"imports in a circle: {' <- '.join(error.args[1])}") from None


def test_no_room_needs_one_that_needs_it() -> None:
    """A room is a folder of ragqa, or a module beside them."""
    rooms: dict[str, set[str]] = {}
    for name, wanted in imports().items():
        # The package itself is its face: it hands Pipeline on.
        if name != "ragqa":
            needed = {_room(one) for one in wanted if one != "ragqa"} - {_room(name)}
            rooms.setdefault(_room(name), set()).update(needed)
    assert len(rooms) > 25
    try:
        TopologicalSorter(rooms).prepare()
    except CycleError as error:
        raise AssertionError(f"rooms in a circle: {' <- '.join(error.args[1])}") from None


def _room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def test_the_graph_sees_imports_of_all_kinds() -> None:
    found = imports()
    assert len(found) > 150
    # At the top, within a function, for type checkers, and of a module by its package.
    assert "ragqa.types" in found["ragqa.corpus.database"]
    assert "ragqa.explain.explanation" in found["ragqa.pipeline"]
    assert "ragqa.index.token_store" in found["ragqa.pipeline"]
    assert "ragqa.cli.completion" in found["ragqa.cli.app"]


def test_the_product_takes_nothing_from_the_workshop() -> None:
    for path in (ROOT / "ragqa").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.partition(".")[0] == "tests"], path
