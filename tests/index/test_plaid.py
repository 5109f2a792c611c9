from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from ragqa.config import parse_config
from ragqa.corpus.database import Corpus
from ragqa.errors import RagqaError
from ragqa.index.plaid import plaid_index
from ragqa.index.plaid.plaid_index import PlaidIndex, plaid_root, plaid_status
from ragqa.operations.corpus import build_index, corpus_status, remove_documents
from ragqa.pipeline import Pipeline
from tests.conftest import fill

pytestmark = pytest.mark.needs("plaid")

QUESTION = "How warm is green tea steeped?"
STAGE = {"type": "colbert-index", "kind": "plaid", "exact_below": 0}
CONFIG = parse_config({"retrieve": STAGE}, "colbert-plaid")


@pytest.fixture(scope="module")
def built(indexed_notes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus with a PLAID index; copy both before changing them."""
    folder = tmp_path_factory.mktemp("plaid")
    path = Path(shutil.copy(indexed_notes, folder / "notes.db"))
    pipeline = Pipeline.from_config(CONFIG, path)
    build_index(pipeline)
    pipeline.close()
    return path


@pytest.fixture
def pipeline(built: Path, tmp_path: Path) -> Iterator[Pipeline]:
    """A copy in another folder: an index that was moved is still searched."""
    path = Path(shutil.copy(built, tmp_path / "moved.db"))
    shutil.copytree(f"{built}.plaid", f"{path}.plaid")
    opened = Pipeline.from_config(CONFIG, path)
    yield opened
    opened.close()


def index_folder(pipeline: Pipeline) -> Path:
    (status,) = plaid_status(pipeline.corpus)
    return Path(status["folder"])


def test_plaid_finds_what_exact_search_finds(pipeline: Pipeline, capfd: pytest.CaptureFixture[str]) -> None:
    found = pipeline.search(QUESTION, 3).hits
    exact = Pipeline.from_config("colbert-exact", pipeline.corpus.path)
    expected = exact.search(QUESTION, 3).hits
    exact.close()
    assert [hit.passage.id for hit in found] == [hit.passage.id for hit in expected]
    assert [hit.rank for hit in found] == [1, 2, 3]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.score == pytest.approx(theirs.score, rel=0.05)
    assert capfd.readouterr().out == ""


def test_more_than_there_is_gives_all_there_is(pipeline: Pipeline) -> None:
    total = pipeline.corpus.count("passages")
    assert len(pipeline.search(QUESTION, 10_000).hits) == total


@pytest.mark.parametrize("texts", [("Tea.",), ("Tea.", "Oil."), ("", "Green tea is steeped.", "A tyre")])
def test_one_to_three_short_files_are_all_compared(texts: tuple[str, ...], tmp_path: Path) -> None:
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.md").write_text(text)
    fill(tmp_path / "few.db", tmp_path)
    with Pipeline.from_config("colbert-plaid", tmp_path / "few.db") as few:
        build_index(few)
        assert len(few.search(QUESTION, 300).hits) == few.corpus.count("passages") > 0
        assert plaid_status(few.corpus) == []


def test_a_corpus_that_became_small_loses_its_clusters(pipeline: Pipeline) -> None:
    folder = index_folder(pipeline)
    with Pipeline.from_config("colbert-plaid", pipeline.corpus.path) as small:
        assert small.search(QUESTION, 3).hits[0].passage.document_id == "tea.html"
        build_index(small)
        assert plaid_status(small.corpus) == []
    assert not folder.exists()


def test_a_condition_has_all_it_lets_through_compared(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plaid_index, "UNPACKED", 2)  # several batches
    (count,) = pipeline.corpus.connection.execute(
        "SELECT count(*) FROM passages WHERE document IN (SELECT rowid FROM documents WHERE id != 'tea.html')"
    ).fetchone()
    path, where = pipeline.corpus.path, "id != 'tea.html'"
    assert pipeline.search(QUESTION, 1).hits[0].passage.document_id == "tea.html"
    with (
        Pipeline.from_config(CONFIG, path, where=where) as narrow,
        Pipeline.from_config("colbert-exact", path, where=where) as exact,
    ):
        found, expected = narrow.search(QUESTION, 100).hits, exact.search(QUESTION, 100).hits
        assert len(found) == len(expected) == count > 2
        assert "tea.html" not in {hit.passage.document_id for hit in found}
        assert found[0].passage.id == expected[0].passage.id
        assert found[0].score == pytest.approx(expected[0].score, rel=0.05)
        assert [hit.passage.id for hit in narrow.search(QUESTION, 2).hits] == [
            hit.passage.id for hit in found[:2]
        ]
        remove_documents(pipeline.corpus, ["coffee.md"])
        left = narrow.search(QUESTION, 100).hits
        assert {hit.passage.document_id for hit in left} == {"bicycle.md", "garden.txt"}
    with Pipeline.from_config(CONFIG, path, where="id = 'nothing'") as none:
        assert none.search(QUESTION).hits == ()
    assert capfd.readouterr().out == ""


def test_adding_and_deleting_are_seen_in_the_same_process(pipeline: Pipeline, tmp_path: Path) -> None:
    assert pipeline.search(QUESTION, 1).hits[0].passage.document_id == "tea.html"
    remove_documents(pipeline.corpus, ["tea.html"])
    assert all(hit.passage.document_id != "tea.html" for hit in pipeline.search(QUESTION, 3).hits)
    (tmp_path / "sencha.md").write_text("# Sencha\n\nSencha, a green tea, is steeped at 75 degrees.")
    fill(pipeline.corpus.path, tmp_path / "sencha.md")
    with pytest.raises(RagqaError, match=r"1 passages of .* are not in its PLAID index: ragqa index"):
        pipeline.search(QUESTION)
    build_index(pipeline)
    assert pipeline.search(QUESTION, 1).hits[0].passage.document_id == "sencha.md"
    assert corpus_status(pipeline.corpus)["plaid"][0]["missing"] == 0
    # A deletion alone keeps the index and takes the passage out of it.
    folder = index_folder(pipeline)
    remove_documents(pipeline.corpus, ["sencha.md"])
    build_index(pipeline)
    assert index_folder(pipeline) != folder
    assert not folder.exists()
    assert all(hit.passage.document_id != "sencha.md" for hit in pipeline.search(QUESTION, 3).hits)


def test_ragatouilles_own_deletion_and_addition_keep_ids_and_passages_together(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragatouille.models.index import PLAIDModelIndex

    from ragqa.index.plaid import plaid_index

    monkeypatch.setattr(plaid_index, "REBUILT_GROWTH", 1.0)
    monkeypatch.setattr(plaid_index, "REBUILT_BELOW", 0)
    monkeypatch.setattr(PLAIDModelIndex, "_should_rebuild", staticmethod(lambda current, new: False))
    (tmp_path / "sencha.md").write_text("# Sencha\n\nSencha, a green tea, is steeped at 75 degrees.")
    fill(pipeline.corpus.path, tmp_path / "sencha.md")
    build_index(pipeline)
    ids = {hit.passage.document_id for hit in pipeline.search(QUESTION, 2).hits}
    assert ids == {"tea.html", "sencha.md"}
    remove_documents(pipeline.corpus, ["tea.html"])
    build_index(pipeline)
    assert pipeline.search(QUESTION, 1).hits[0].passage.document_id == "sencha.md"
    assert pipeline.search("Who mends a flat tyre?", 1).hits[0].passage.document_id == "bicycle.md"


def test_without_an_index_the_command_is_named(db: Path) -> None:
    pipeline = Pipeline.from_config(CONFIG, db)
    with pytest.raises(RagqaError, match="has no PLAID index .* ragqa index -c CONFIG builds it"):
        pipeline.search(QUESTION)
    pipeline.close()


def test_an_index_of_another_model_is_not_searched(pipeline: Pipeline) -> None:
    other = parse_config({"retrieve": {**STAGE, "codec": "int8"}}, "int8")
    with Corpus.open(pipeline.corpus.path) as corpus, pytest.raises(RagqaError, match="no PLAID index"):
        Pipeline(other, corpus).search(QUESTION)
    manifest = index_folder(pipeline) / "ragqa.json"
    manifest.write_text(manifest.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    with pytest.raises(RagqaError, match="holds the vectors of another model"):
        pipeline.search(QUESTION)


def test_a_folder_that_is_no_index_is_a_sentence(pipeline: Pipeline) -> None:
    (index_folder(pipeline) / "ivf.pid.pt").write_bytes(b"nothing")
    with pytest.raises(RagqaError, match="cannot be read"):
        pipeline.search(QUESTION)


class Harmful:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_an_index_file_cannot_run_code(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = index_folder(pipeline) / "centroids.pt"
    path.write_bytes(pickle.dumps(Harmful(tmp_path / "harmed")))
    with pytest.raises(RagqaError, match="cannot be read"):
        pipeline.search(QUESTION)
    (file,) = [f for f in plaid_status(pipeline.corpus, files=True)[0]["files"] if f["name"] == path.name]
    assert file["tensors"][0].startswith("unreadable")
    assert not (tmp_path / "harmed").exists()


def test_a_killed_build_leaves_the_index_before_it_in_use(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragqa.index.plaid.plaid_index import PlaidIndex

    def killed(self: PlaidIndex, *args: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "sencha.md").write_text("# Sencha\n\nSencha, a green tea, is steeped at 75 degrees.")
    fill(pipeline.corpus.path, tmp_path / "sencha.md")
    with monkeypatch.context() as patch:
        patch.setattr(PlaidIndex, "_finish", killed)
        with pytest.raises(KeyboardInterrupt):
            build_index(pipeline)
    remove_documents(pipeline.corpus, ["sencha.md"])
    assert pipeline.search(QUESTION, 1).hits[0].passage.document_id == "tea.html"
    (tmp_path / "more.md").write_text("# More\n\nMore about tea.")
    fill(pipeline.corpus.path, tmp_path / "more.md")
    build_index(pipeline)
    folders = list((plaid_root(pipeline.corpus) / "colbert" / "indexes").iterdir())
    assert folders == [index_folder(pipeline)]


def test_status_shows_files_and_tensor_shapes(pipeline: Pipeline) -> None:
    (index,) = plaid_status(pipeline.corpus, files=True)
    shapes = {file["name"]: file["tensors"] for file in index["files"]}
    assert shapes["centroids.pt"][0].endswith(", 96]")
    assert index["passages"] == pipeline.corpus.count("passages")
    assert index["bytes"] == sum(file["bytes"] for file in index["files"])


def test_without_a_compiler_the_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragqa.encoders.ragatouille.taming import SEARCHING, ensure_compiled

    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RagqaError, match=r"no compiler 'no-such-compiler' here: install one"):
        ensure_compiled(SEARCHING)


def test_status_counts_what_is_not_in_the_index_and_not_what_is_gone(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    remove_documents(pipeline.corpus, ["tea.html"])
    assert corpus_status(pipeline.corpus)["plaid"][0]["missing"] == 0
    (tmp_path / "sencha.md").write_text("# Sencha\n\nSencha, a green tea, is steeped at 75 degrees.")
    fill(pipeline.corpus.path, tmp_path / "sencha.md")
    assert corpus_status(pipeline.corpus)["plaid"][0]["missing"] == 1


def test_an_index_that_was_replaced_is_loaded_anew(pipeline: Pipeline, tmp_path: Path) -> None:
    """Two rebuilds by others must not look like no rebuild."""
    assert pipeline.search(QUESTION, 1).hits[0].passage.document_id == "tea.html"
    for name in ("one", "two"):
        (tmp_path / f"{name}.md").write_text(f"# {name}\n\nDocument {name} is about zeppelins.")
        fill(pipeline.corpus.path, tmp_path / f"{name}.md")
        other = Pipeline.from_config(CONFIG, pipeline.corpus.path)
        build_index(other)
        other.close()
    found = {hit.passage.document_id for hit in pipeline.search("zeppelins", 2).hits}
    assert found == {"one.md", "two.md"}


def test_an_unused_index_is_dropped_and_an_empty_corpus_finds_nothing(pipeline: Pipeline) -> None:
    documents = [row[0] for row in pipeline.corpus.connection.execute("SELECT id FROM documents")]
    remove_documents(pipeline.corpus, documents)
    assert pipeline.search(QUESTION).hits == ()
    other = Pipeline.from_config("fts", pipeline.corpus.path)
    build_index(other, drop_unused=True)
    other.close()
    assert not plaid_root(pipeline.corpus).exists()
    assert plaid_status(pipeline.corpus) == []


def test_the_lock_of_a_killed_compilation_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ragqa.encoders.ragatouille.taming import ENCODING, ensure_compiled

    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    folder = tmp_path / ENCODING[0]
    folder.mkdir()
    (folder / f"{ENCODING[0]}.so").touch()
    lock = folder / "lock"
    lock.touch()
    ensure_compiled(ENCODING)
    assert lock.exists()  # somebody may be compiling
    os.utime(lock, (0, 0))
    ensure_compiled(ENCODING)
    assert not lock.exists()


@pytest.mark.parametrize(
    ("error", "free", "said"),
    [
        (OSError(28, "No space left on device"), 10**9, "could not be written: .*No space left on device"),
        (
            Exception("File too large (os error 27)"),
            10**9,
            r"could not be written: File too large \(os error 27",
        ),
        (RuntimeError("unexpected pos 704 vs 598"), 4096, "could not be written: the disk is full"),
    ],
)
def test_a_full_disk_is_told_and_the_index_before_it_stays_in_use(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, error: Exception, free: int, said: str
) -> None:
    def fail(self: PlaidIndex, folder: Path, rowids: tuple[int | None, ...]) -> None:
        raise error

    before = index_folder(pipeline)
    remove_documents(pipeline.corpus, ["tea.html"])
    monkeypatch.setattr(PlaidIndex, "_finish", fail)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    with pytest.raises(RagqaError, match=said):
        build_index(pipeline)
    assert [path.name for path in before.parent.iterdir()] == [before.name]
    assert pipeline.search(QUESTION, 3).hits


def test_what_a_killed_build_left_is_removed_though_nothing_is_to_be_built(pipeline: Pipeline) -> None:
    current = index_folder(pipeline)
    shutil.copytree(current, current.with_name("index-killed"))
    build_index(pipeline)
    assert [path.name for path in current.parent.iterdir()] == [current.name]
