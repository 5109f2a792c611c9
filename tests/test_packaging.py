"""What is installed: a wheel with all that it needs, and a sentence where an extra is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from importlib.metadata import Distribution
from pathlib import Path

import pytest

from ragqa.doctor.extras import USES, closure
from ragqa.encoders.embedded.catalogue import MODELS
from tests.conftest import write_notes

ROOT = Path(__file__).parents[1]
BUILD_HOOK = "ragqa/encoders/embedded/hatch_build.py"


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
    weights = "ragqa/encoders/embedded/weights"
    assert {f"{weights}/{model.file}" for model in MODELS} | {f"{weights}/NOTICE"} <= held
    assert "ragqa/encoders/embedded/projection.npy" in held
    # The workshop, where its constants are fitted, and what builds it stay at home.
    code = {name for name in held if name.endswith(".py")}
    assert code == {str(path.relative_to(ROOT)) for path in (ROOT / "ragqa").rglob("*.py")} - {BUILD_HOOK}
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


Base = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Base:
    """The `ragqa` of an environment that holds the wheel and what it asks for, extras left out.

    It is made of what is installed here, without network. `make demo` has pip do the same.
    """
    folder = tmp_path_factory.mktemp("base")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    site = next((folder / "venv" / "lib").glob("python*")) / "site-packages"
    for name, package in closure("ragqa").items():
        if name != "ragqa":
            link(package, site)
    pip = [sys.executable, "-m", "pip", "--python", folder / "venv", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--no-index", "--no-compile", wheel], check=True)

    def run(*arguments: str | Path, cwd: Path = folder) -> subprocess.CompletedProcess[str]:
        command = [folder / "venv" / "bin" / "ragqa", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=200)

    return run


def link(package: Distribution, site: Path) -> None:
    """Put a package's files into another site-packages, as links where the file system has them."""
    for file in package.files or ():
        source, target = Path(str(file.locate())), site.joinpath(*file.parts)
        if ".." in file.parts or not source.is_file() or target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)


def test_the_base_alone_answers_and_evaluates(base: Base, tmp_path: Path) -> None:
    write_notes(tmp_path / "notes")
    question = "How many grams of beans for a litre of water?"
    (tmp_path / "questions.jsonl").write_text(f'{{"question": "{question}", "relevant": ["coffee.md"]}}\n')
    said = {}
    for command in (
        ["ingest", "notes"],
        ["index"],
        ["search", question],
        ["ask", question, "--no-log"],
        [
            "eval",
            "run",
            "questions.jsonl",
            "-c",
            "fts",
            "-c",
            "default",
            "--retrieval-only",
            "--runs",
            "runs.db",
        ],
        ["eval", "compare", "fts", "default", "--runs", "runs.db"],
        ["doctor"],
    ):
        where = ["--db", "notes.db"] if "compare" not in command else []
        ran = base(*command, *where, cwd=tmp_path)
        assert ran.returncode == 0, (command, ran.stderr)
        said[command[0]] = ran.stdout
    assert said["ingest"] == "4 added, 0 replaced, 0 unchanged, 0 pruned, 0 skipped\n"
    assert said["index"].splitlines() == [
        f"{name}: 4 passages indexed" for name in ("fts", "dense", "colbert")
    ]
    assert said["search"].startswith("  1. Making coffee\n     coffee.md#0, lines 5-15  (fts ")
    assert said["ask"].startswith("Use 60 grams of beans for one litre of water. [1] ✓")
    assert "fts and default do the same on every question." in said["eval"]
    for package in ("torch", "transformers", "sentence-transformers"):
        assert f"{package:<22} not installed" in said["doctor"]
    for extra in USES:
        assert f"pip install 'ragqa[{extra}]' for" in said["doctor"]
    assert said["doctor"].endswith("All is well.\n")


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["serve", "--port", "0"], "web"),
        (["mcp"], "mcp"),
        (["ask", "tea", "-m", "SmolLM2"], "local"),
        (["search", "tea", "-c", "ragatouille"], "plaid"),
        (["index", "-c", "colbertv2"], "torch"),
        (["search", "tea", "-c", "cross.yaml"], "torch"),
        (["search", "tea", "-c", "cuda.yaml"], "torch"),
        (["search", "tea", "-c", "bfloat16.yaml"], "torch"),
        (["search", "tea", "-c", "hub.yaml"], "torch"),
        (["index", "--engine", "ray"], "scale"),
        (["push", "--to", "lance"], "scale"),
        (["search", "tea", "-c", "lancedb"], "scale"),
        (["train", "mine"], "train"),
        (["eval", "report", "--runs", "runs.db"], "report"),
        (["eval", "tune", "questions.jsonl", "-o", "best.yaml"], "tune"),
    ],
    ids=lambda value: " ".join(value[:4]) if isinstance(value, list) else value,
)
def test_what_needs_an_extra_says_how_to_install_it(
    base: Base, arguments: list[str], extra: str, db: Path, tmp_path: Path
) -> None:
    reranker = "{type: cross-encoder, model: acme/tiny}"
    (tmp_path / "cross.yaml").write_text(f"retrieve: {{type: fts}}\nrerank: {reranker}")
    (tmp_path / "cuda.yaml").write_text("{retrieve: {type: dense}, device: cuda}")
    (tmp_path / "bfloat16.yaml").write_text("{retrieve: {type: dense}, dtype: bfloat16}")
    (tmp_path / "hub.yaml").write_text("retrieve: {type: dense, model: acme/tiny}")
    (tmp_path / "questions.jsonl").write_text('{"question": "tea?", "relevant": ["tea.html"]}\n' * 12)
    asked = [*arguments, *(["--db", str(db)] if "report" not in arguments else [])]
    if "report" in arguments:
        run = ["eval", "run", "questions.jsonl", "-c", "fts", "--retrieval-only", "--runs", "runs.db"]
        assert base(*run, "--db", db, cwd=tmp_path).returncode == 0
    ran = base(*asked, cwd=tmp_path)
    assert ran.returncode == 1
    assert f"which is not installed: pip install 'ragqa[{extra}]'" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_doctor_knows_each_extra_that_users_install() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(USES) == set(declared) - {"all", "test", "peers", "lint"}
    assert declared["all"] == [f"ragqa[{','.join(USES)}]"]
