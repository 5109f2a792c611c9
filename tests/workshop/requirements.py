"""What each requirement costs: `make requirements` prints the tables of docs/requirements.md.

A requirement is charged with what would go if it went: itself, and what nothing else asks for. What another
one asks for as well would stay, and is charged with itself. Sizes are those of installed files; seconds are
pip's for these wheels, which lie in its cache by then.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

from ragqa.doctor.extras import USES, asked_for, closure, normalised

ROOT = Path(__file__).parents[2]
MANY = 3


def main() -> None:
    """Print a table of the base and one of the extras, of what is installed here."""
    modules = importers()
    base = wanted("")
    print("| requirement | MB | s | imported by |")
    print("| --- | ---: | ---: | --- |")
    rows = []
    everything = closure_of(base)
    asked_by = {one: set(closure(one)) - {one} for one in everything}
    for name in base:
        alone = everything - closure_of(one for one in base if one != name)
        also = [] if alone else sorted(one for one, asked in asked_by.items() if name in asked)
        charged = alone or {name}
        rows.append((megabytes(charged), name, len(charged) - 1, seconds(charged), also))
    for size, name, others, took, also in sorted(rows, reverse=True):
        beside = f" and {others} more" if others else ""
        beside += f", as for {_places(also)}" if also else ""
        print(f"| `{name}`{beside} | {size:.1f} | {took:.1f} | {_places(modules.get(name, ()))} |")
    own = sum(path.stat().st_size for path in (ROOT / "ragqa").rglob("*") if path.suffix != ".pyc") / 1e6
    size = megabytes(everything) + own
    print(f"| all {len(everything)} packages, and ragqa with its model ({own:.0f} MB) | {size:.0f} | | |")
    print()
    print("| extra | packages | MB more | for |")
    print("| --- | ---: | ---: | --- |")
    for name, use in USES.items():
        more = closure_of([*base, *wanted(name)]) - everything
        print(f"| `{name}` | {len(more)} | {megabytes(more):.0f} | {use} |")


def wanted(extra: str) -> list[str]:
    """Return the normalised names of what ragqa asks for itself ("") or for an extra."""
    return [normalised(requirement.name) for requirement in asked_for(extra)]


def closure_of(names: Iterable[str]) -> set[str]:
    """Return these packages and all that they ask for, as far as they are installed."""
    return {found for name in names for found in closure(name)}


def megabytes(names: Iterable[str]) -> float:
    """Return the size of the packages' files, compiled Python apart."""
    files = (Path(str(file.locate())) for name in names for file in distribution(name).files or ())
    return sum(path.stat().st_size for path in files if path.suffix != ".pyc" and path.is_file()) / 1e6


def seconds(names: Sequence[str] | set[str]) -> float:
    """Return how long pip takes for these packages alone, once they are in its cache."""
    pinned = [f"{name}=={distribution(name).version}" for name in sorted(names)]
    if not pinned:
        return 0.0
    took = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
            began = time.perf_counter()
            subprocess.run([*pip, "--target", folder, *pinned], check=True, capture_output=True)
            took.append(time.perf_counter() - began)
    return took[-1]


def importers() -> dict[str, set[str]]:
    """Return the modules of ragqa that import each package, by the package's name."""
    packages = packages_distributions()
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "ragqa").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for name in names:
                for package in packages.get(name.partition(".")[0], ()):
                    place = path.relative_to(ROOT / "ragqa").with_suffix("").as_posix()
                    found.setdefault(normalised(package), set()).add(place)
    return found


def _places(modules: Iterable[str]) -> str:
    names = sorted(modules)
    more = f" and {len(names) - MANY} more" if len(names) > MANY else ""
    return ", ".join(f"`{name}`" for name in names[:MANY]) + more


if __name__ == "__main__":
    main()
