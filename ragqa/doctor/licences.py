"""The licences of what ragqa is made of, as the packages themselves tell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Any

from ragqa import embedded
from ragqa.doctor.extras import requirements_of

UNKNOWN = "not told"
LONGEST = 60


def licences(root: str = "ragqa") -> list[dict[str, Any]]:
    """Return name, version and licence of each installed package that `root` needs, itself included.

    What its extras need counts where it is installed. With ragqa comes its model, which is no package.
    """
    found: dict[str, Distribution] = {}
    waiting = [(root, "*")]
    seen: set[tuple[str, str]] = set()
    while waiting:
        name, extra = waiting.pop()
        key = name.lower().replace("_", "-").replace(".", "-")
        if (key, extra) in seen:
            continue
        seen.add((key, extra))
        try:
            found[key] = distribution(name)
        except PackageNotFoundError:
            continue
        waiting += _needed(found[key], extra)
    packages = [
        {"name": one.metadata["Name"], "version": one.version, "licence": _licence(one)}
        for _, one in sorted(found.items())
    ]
    model = {"name": embedded.NAME, "version": embedded.WEIGHTS_SHA256[:8], "licence": embedded.LICENCE}
    return [model, *packages] if root == "ragqa" else packages


def _needed(package: Distribution, extra: str) -> Iterator[tuple[str, str]]:
    """Yield the packages that this one needs for `extra` ("": for itself, "*": for all of its extras)."""
    extras = package.metadata.get_all("Provides-Extra") or () if extra == "*" else (extra,)
    for name in dict.fromkeys(("", *extras)):
        for requirement in requirements_of(package, name):
            for wanted in ("", *requirement.extras):
                yield requirement.name, wanted


def _licence(package: Distribution) -> str:
    """Return a package's licence: its expression, else its classifiers, else the first line that tells it."""
    metadata = package.metadata
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    classifiers = metadata.get_all("Classifier") or ()
    named = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License :: ")]
    told = ", ".join(name for name in named if name != "OSI Approved")
    field = (metadata.get_all("License") or [""])[0]
    return told or _first_line(field) or _first_line(_file(package)) or UNKNOWN


def _file(package: Distribution) -> str:
    for path in package.files or ():
        if path.name.upper().startswith(("LICENSE", "LICENCE", "COPYING")):
            with suppress(OSError, UnicodeDecodeError):
                return path.read_text(encoding="utf-8")
    return ""


def _first_line(text: str) -> str:
    return next((line.strip()[:LONGEST] for line in text.splitlines() if line.strip()), "")
