"""What figures depend on: the machine, the versions, the commit."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ragqa import __version__
from ragqa.encoders.device import cores

PACKAGES = (
    "ragqa",
    "numpy",
    "onnxruntime",
    "torch",
    "transformers",
    "sentence-transformers",
    "ragatouille",
    "bm25s",
)


def machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, cores, memory, versions and commit."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    named = {name.strip(): value.strip() for name, value in facts.items()}
    wide = [
        flag
        for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
        if flag in named.get("flags", "").split()
    ]
    return f"{named.get('model name', platform.processor())} ({', '.join(wide)})"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def code_version() -> str:
    """Return ragqa's version, with the commit where it runs from a checkout."""
    where = commit()
    return __version__ if where == "unknown" else f"{__version__} ({where})"


def commit() -> str:
    """Return the last commit that changed ragqa's files, with a plus sign where they differ from it.

    An installed ragqa has none: "unknown".
    """
    folder = Path(__file__).parents[1]
    if not (folder.parent / ".git").exists():
        return "unknown"

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True)
        return done.stdout.strip()

    try:
        found, changed = git("log", "-1", "--format=%h", "--", "."), git("status", "--porcelain", ".")
    except OSError:
        return "unknown"
    return f"{found}{'+' if changed else ''}" if found else "unknown"
