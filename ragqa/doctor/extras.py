"""The extras of ragqa: what each is for, and what of it is not installed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement

# As pyproject.toml has them; those of who works on ragqa are left out, and so is `all`.
USES = {
    "docs": "PDF, Office, OpenDocument, RTF and Outlook files",
    "ocr": "text in scanned pages and pictures",
    "torch": "checkpoints from a hub or a folder, cross-encoders, GPUs",
    "report": "eval report, and the page of stored runs",
    "tune": "eval tune",
    "web": "serve",
    "mcp": "mcp",
    "local": "the model SmolLM2, in the process",
    "plaid": "RAGatouille: colbert-plaid, its rerank, its engine",
    "train": "train",
    "scale": "push, lancedb, --engine ray",
}


@dataclass(frozen=True, slots=True)
class Extra:
    """`missing` are the names of the packages it asks for that are not installed."""

    name: str
    use: str
    missing: tuple[str, ...]

    @property
    def mend(self) -> str:
        """Return the line that installs it."""
        return f"pip install 'ragqa[{self.name}]'"


def extras() -> list[Extra]:
    """Return the extras in the order of USES."""
    found = []
    for name, use in USES.items():
        wanted = dict.fromkeys(requirement.name for requirement in asked_for(name))
        found.append(Extra(name, use, tuple(one for one in wanted if not is_installed(one))))
    return found


def is_installed(package: str) -> bool:
    """Tell whether a distribution of that name is installed."""
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


def closure(root: str, extra: str = "") -> dict[str, Distribution]:
    """Return the installed packages that `root` asks for, itself included, by their normalised names.

    With an `extra` ("*": all of them) also what that one asks for; of what is not installed nothing is known.
    """
    found: dict[str, Distribution] = {}
    waiting = [(normalised(root), extra)]
    seen: set[tuple[str, str]] = set()
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        with suppress(PackageNotFoundError):
            found[name] = distribution(name)
            for requirement in _all_requirements(found[name], wanted):
                waiting += [(normalised(requirement.name), also) for also in ("", *requirement.extras)]
    return found


def _all_requirements(package: Distribution, extra: str) -> Iterator[Requirement]:
    """Yield what a distribution asks for itself and for an extra ("*": for all of them)."""
    extras = package.metadata.get_all("Provides-Extra") or () if extra == "*" else (extra,)
    for one in dict.fromkeys(("", *extras)):
        yield from requirements_of(package, one)


def normalised(name: str) -> str:
    """Return a package's name as PyPI compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements_of(package: Distribution, extra: str) -> Iterator[Requirement]:
    """Yield what a distribution asks for itself (extra "") or for one of its extras besides."""
    from packaging.requirements import Requirement

    for line in package.requires or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None:
            applies = not extra
        else:
            applies = marker.evaluate({"extra": extra}) and (not extra or not marker.evaluate({"extra": ""}))
        if applies:
            yield requirement


@cache
def asked_for(name: str) -> tuple[Requirement, ...]:
    """Return what ragqa asks for itself ("") or for an extra, extras of its own that it names resolved."""
    found: list[Requirement] = []
    for requirement in requirements_of(distribution("ragqa"), name):
        if requirement.name == "ragqa":
            found += [one for other in sorted(requirement.extras) for one in asked_for(other)]
        else:
            found.append(requirement)
    return tuple(found)
