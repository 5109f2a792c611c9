"""The licences of what ragqa is made of, as the packages themselves tell."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import Distribution
from typing import Any

from ragqa.doctor.extras import closure
from ragqa.encoders.embedded.catalogue import MODELS

UNKNOWN = "not told"
LONGEST = 60


def licences(root: str = "ragqa") -> list[dict[str, Any]]:
    """Return name, version and licence of each installed package that `root` needs, itself included.

    What its extras need counts where it is installed. With ragqa come its models, which are no packages.
    """
    packages = [
        {"name": one.metadata["Name"], "version": one.version, "licence": _licence(one)}
        for _, one in sorted(closure(root, "*").items())
    ]
    models = [{"name": one.name, "version": one.weights[:8], "licence": one.licence} for one in MODELS]
    return [*models, *packages] if root == "ragqa" else packages


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
