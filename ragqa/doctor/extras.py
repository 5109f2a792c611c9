"""The extras of ragqa: what each is for, and what of it is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement

# As pyproject.toml has them; those of who works on ragqa are left out, and so is `all`.
USES = {
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
        wanted = dict.fromkeys(requirement.name for requirement in _of_extra(name))
        found.append(Extra(name, use, tuple(one for one in wanted if not is_installed(one))))
    return found


def is_installed(package: str) -> bool:
    """Tell whether a distribution of that name is installed."""
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


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
def _of_extra(name: str) -> tuple[Requirement, ...]:
    """Return what an extra of ragqa asks for, those that it names of ragqa's own resolved."""
    found: list[Requirement] = []
    for requirement in requirements_of(distribution("ragqa"), name):
        if requirement.name == "ragqa":
            found += [one for other in sorted(requirement.extras) for one in _of_extra(other)]
        else:
            found.append(requirement)
    return tuple(found)
