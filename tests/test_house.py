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


def layers() -> dict[str, int]:
    """Return the floor of each room as ARCHITECTURE.md has it, the lowest being 0.

    A room is a folder of ragqa, or a module beside them.
    """
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    lines = text.partition("```layers\n")[2].partition("```")[0].splitlines()
    rooms = [(room, floor) for floor, line in enumerate(reversed(lines)) for room in line.split()]
    assert len(rooms) == len(dict(rooms)), "a room is on two floors"
    return {f"ragqa.{room}": floor for room, floor in rooms}


def test_a_room_needs_only_rooms_of_lower_layers() -> None:
    floor = layers()
    upward = [
        f"{name} needs {needed}"
        for name, wanted in imports().items()
        for needed in wanted
        # The package itself is its face: it hands Pipeline on.
        if "ragqa" not in (name, needed)
        and _room(name) != _room(needed)
        and floor[_room(needed)] >= floor[_room(name)]
    ]
    assert not upward


def test_the_plan_has_every_room_and_no_other() -> None:
    assert set(layers()) == {_room(name) for name in imports() if name != "ragqa"}
    described = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("## Rooms")[2]
    for room in layers():
        name = room.removeprefix("ragqa.")
        assert name == "__main__" or f"`{name}" in described, f"ARCHITECTURE.md says nothing of {name}"


def test_no_room_has_outgrown_the_house() -> None:
    """A fifth of the product's lines, and a dozen modules beside the rooms, still fit into the head."""
    lines: dict[str, int] = {}
    for path in (ROOT / "ragqa").rglob("*.py"):
        room = _room(_module(path))
        lines[room] = lines.get(room, 0) + len(path.read_text(encoding="utf-8").splitlines())
    total = sum(lines.values())
    assert {room: count for room, count in lines.items() if count > total / 5} == {}
    assert len(list((ROOT / "ragqa").glob("*.py"))) <= 12


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
