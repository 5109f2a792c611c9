"""The README's tour is run as it stands, and prints what it shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import LACKING

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Times differ from machine to machine: "5 ms" in a sentence, two columns before a size in a table.
TIMES = re.compile(r"\b[\d,]+ ms\b|(?:\s+[\d,]+){2}(?=\s+[\d.,]+ (?:bytes|kB|MB)$)", re.M)


def tour() -> list[tuple[str, str]]:
    """Return the commands of the console blocks, each with what is shown of its output."""
    steps: list[list[list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```$", README, re.M | re.S):
        if ".pdf" in block and "docs" in LACKING:
            continue
        heredoc = False
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append([[line[2:]], []])
                heredoc = "<<'END'" in line
            elif heredoc or "<<'END'" in line or not re.search(r"ragqa |export ", steps[-1][0][0]):
                steps[-1][0].append(line)
                heredoc = line != "END"
            else:
                steps[-1][1].append(line)
    return [("\n".join(command), "\n".join(shown)) for command, shown in steps]


def test_the_tour_prints_what_it_shows(tmp_path: Path) -> None:
    steps = tour()
    assert len(steps) > 8
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # One shell for all of it, as for a reader; a mark parts what the commands print.
    script = "\n".join(f"{command}\necho '<<<'$?'>>>'" for command, _ in steps)
    ran = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        timeout=300,
    )
    printed = re.split(r"<<<(\d+)>>>\n", ran.stdout)
    for place, (command, shown) in enumerate(steps):
        output, code = printed[2 * place], printed[2 * place + 1]
        assert code == "0", f"{command}\n{ran.stderr}"
        assert TIMES.sub("TIME", output.strip("\n")) == TIMES.sub("TIME", shown.strip("\n")), command


@pytest.mark.parametrize("path", re.findall(r"\]\((?!https?:)([^)#]+)\)", README))
def test_what_the_readme_links_to_is_there(path: str) -> None:
    assert (ROOT / path).is_file()
