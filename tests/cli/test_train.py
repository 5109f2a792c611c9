"""`ragqa train` as a user runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.conftest import Run
from tests.train.material import make_corpus, small_checkpoint

# As if a package were not installed, in a process of its own.
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
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus and a config whose checkpoint is small."""
    folder = tmp_path_factory.mktemp("made")
    make_corpus(folder)
    stages = {
        "retrieve": {"type": "fts"},
        "rerank": {"type": "colbert", "model": str(small_checkpoint(folder / "small"))},
        "device": "cpu",
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(stages))
    return folder


@pytest.fixture
def options(made: Path, tmp_path: Path) -> list[str]:
    db = shutil.copy(made / "puzzles.db", tmp_path / "puzzles.db")
    return ["--db", str(db), "-c", str(made / "small.yaml")]


# For models so small, several threads wait for each other most of the time.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def test_a_checkpoint_is_trained_compared_installed_indexed_and_searched(
    ragqa: Run, options: list[str], tmp_path: Path
) -> None:
    # Five commands, 20 s: most of each is torch being loaded.
    learn = ["--full", "--epochs", "10", "--batch", "8", "--rate", "0.003"]
    ran = ragqa("train", "mine", *options, *learn, env=ONE_THREAD)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    lines = ran.stdout.splitlines()
    assert lines[0].endswith("pairs to train on (headings 100%), 11 held back")
    assert lines[1].startswith("60 of 60 steps, loss ")
    assert any(line.startswith("mine is better than saved, by 0.") for line in lines)
    assert "ragqa index -c mine/config.yaml makes" in ran.stdout
    config = str(tmp_path / "mine" / "config.yaml")
    db = options[:2]
    assert ragqa("index", "-c", config, *db).stdout == "fts: up to date\ncolbert: 56 passages indexed\n"
    found = json.loads(ragqa("search", "cement filter roots", "-c", config, *db, "--json").stdout)
    assert "colbert" in found["hits"][0]["scores"]


def test_a_checkpoint_that_is_not_better_is_exit_code_1_and_no_folder(
    ragqa: Run, options: list[str], tmp_path: Path
) -> None:
    harm = ["--full", "--steps", "2", "--batch", "8", "--rate", "3"]
    ran = ragqa("train", "mine", *options, *harm, "--json", env=ONE_THREAD)
    assert ran.returncode == 1
    assert ran.stderr.startswith("mine was not installed, because it is not better than ")
    report = json.loads(ran.stdout)
    assert report["installed"] is report["better"] is False
    assert report["comparisons"][0]["difference"]["questions"] == 11
    assert not (tmp_path / "mine").exists()
    forced = ragqa("train", "mine", *options, *harm, "--json", "--resume", "--force", env=ONE_THREAD)
    assert forced.returncode == 0
    assert json.loads(forced.stdout)["comparisons"] == report["comparisons"]
    assert (tmp_path / "mine" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-c", "fts"], "Error: The config fts has no ColBERT stage, so nothing would use what is trained: "),
        (["--from", "nowhere.jsonl"], "Error: nowhere.jsonl cannot be read as questions: "),
        (["--resume"], "Error: There is no training of mine to go on with: leave out --resume.\n"),
    ],
)
def test_a_wrong_request_is_a_sentence(
    ragqa: Run, options: list[str], arguments: list[str], said: str
) -> None:
    ran = ragqa("train", "mine", *options, *arguments)
    assert ran.returncode == 2
    assert ran.stderr.startswith(said)
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize("module", ["peft", "accelerate"])
def test_a_missing_extra_says_how_to_install_it(ragqa: Run, options: list[str], module: str) -> None:
    import subprocess
    import sys

    code = WITHOUT.format(module=module, arguments=["train", "mine", *options])
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert ran.returncode == 1
    assert ran.stderr == (
        f"Error: ragqa train needs the package {module!r}, which is not installed: "
        "pip install 'ragqa[train]'\n"
    )
