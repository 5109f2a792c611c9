"""What --engine, --address and --worker-cores say, where no Ray is needed to say it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ragqa.cluster.ray_cluster import open_cluster
from ragqa.errors import UsageError

from ..conftest import Run

# ragqa where no package of this name is installed.
WITHOUT = """
import sys
gone, *sys.argv[1:] = sys.argv[1:]

class Without:
    def find_spec(self, name, path=None, target=None):
        if name == gone:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Without())
from ragqa.cli.main import main
main()
"""


def without(package: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT, package, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_where_ray_is_missing_its_install_line_is_said(db: Path) -> None:
    done = without("ray", "index", "--db", str(db), "--engine", "ray")

    assert done.returncode == 1
    assert done.stderr == (
        "Error: --engine ray needs the package 'ray', which is not installed: pip install 'ragqa[scale]'\n"
    )


def test_nothing_else_needs_ray(db: Path) -> None:
    assert without("ray", "index", "--db", str(db)).returncode == 0
    assert without("ray", "index", "--help").returncode == 0


def test_an_unknown_engine_is_refused_with_those_that_there_are(ragqa: Run, db: Path) -> None:
    done = ragqa("index", "--db", db, "--engine", "spark")

    assert done.returncode == 2
    assert done.stderr == "Error: There is no engine 'spark'. Known: local, ray.\n"


@pytest.mark.parametrize(("address", "cores"), [("auto", None), (None, 2)])
def test_the_options_of_ray_are_for_ray(address: str | None, cores: int | None) -> None:
    with pytest.raises(UsageError, match="are for --engine ray"), open_cluster("local", address, cores):
        pass


@pytest.mark.parametrize("address", ["", "here", "host:", "http://host:1", "host:1/path", "a b:1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="is no address of Ray: auto, HOST:PORT"):
        open_cluster("ray", address, None).__enter__()
