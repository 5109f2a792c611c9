"""RAGatouille's PLAID index of a corpus: built from the stored token vectors, beside the corpus file.

What the library does is its own (k-means, residual compression, candidate generation, its files);
what is ours is where it gets vectors from, which of its indexes is in use, and which passages that
holds. Each build or change makes a new folder and then notes it in the corpus file, so that a killed
run leaves the index before it in use.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from uuid import uuid4

from ragqa.corpus.database import Corpus, batches
from ragqa.corpus.passages import indexed_text
from ragqa.encoders.device import Compute
from ragqa.encoders.ragatouille.stanford import stanford_layout
from ragqa.encoders.tokens import EncoderSettings
from ragqa.errors import RagqaError
from ragqa.index.plaid.index_files import tensor_shapes
from ragqa.index.plaid.mends import (
    correct_counts,
    correct_paths,
    index_root,
    stored_vectors,
    trim_lists,
)
from ragqa.index.token_store import TokenStore

MANIFEST = "ragqa.json"
# The folders that RAGatouille makes under an index root.
LAYOUT = Path("colbert") / "indexes"
# RAGatouille rebuilds smaller indexes, and those that grow by more than a twentieth, whatever is asked.
REBUILT_BELOW, REBUILT_GROWTH = 5000, 0.05
# Bytes: what a disk has left at which writing an index to it failed for want of room.
FULL_BELOW = 1_000_000
# Passages whose vectors are unpacked at a time where only some may be found: 150 kB each at 100 tokens.
UNPACKED = 1024


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an index holds: `rowids[pid]` is the passage that the library calls `pid`, None once deleted."""

    fingerprint: str
    rowids: tuple[int | None, ...]

    def passages(self) -> set[int]:
        return {rowid for rowid in self.rowids if rowid is not None}


class PlaidIndex:
    """The PLAID index over the vectors of `store`; raises RagqaError where it is missing or stale."""

    def __init__(
        self, store: TokenStore, settings: EncoderSettings, compute: Compute, revision: str | None = None
    ) -> None:
        self._revision = revision
        self.store = store
        self.corpus = store.corpus
        self.settings = settings
        self.compute = compute
        self._open: tuple[Path, Any, Manifest] | None = None
        self._compared: tuple[tuple[int, int], int, int] | None = None

    # -- searching ----------------------------------------------------------------------------

    def search(self, query: str, k: int, allowed: Set[int] | None = None) -> tuple[list[int], list[float]]:
        """Return the keys and approximate MaxSim of the `k` best passages, best first, or of all there are.

        Passages deleted since the index was made are left out. With `allowed`, the passages with these keys
        are all compared, and no others; all are as well where the nearest clusters hold fewer than `k`.
        """
        if self._current() is None and not self.corpus.count("passages"):
            return [], []
        model, manifest = self._load()
        if allowed is not None:
            return _best_of(model, manifest, query, k, allowed)
        _, gone = self._difference()
        # More than there is would fail; the library lowers it for its own idea of how many there are.
        wanted = min(k + gone, len(manifest.passages()))
        if not wanted:
            return [], []
        results = model.search(query, k=wanted) or []
        found = [(manifest.rowids[result["passage_id"]], float(result["score"])) for result in results]
        kept = [(rowid, score) for rowid, score in found if rowid is not None]
        if len(kept) < min(k, len(manifest.passages()) - gone):
            return _best_of(model, manifest, query, k, manifest.passages())
        return [rowid for rowid, _ in kept], [score for _, score in kept]

    def check(self) -> None:
        """Raise RagqaError when there is no index of these vectors, or one that lacks passages."""
        missing = self.missing()
        if not missing:
            return
        if self._current() is None:
            raise RagqaError(
                f"The corpus {self.corpus.path} has no PLAID index for this config's vectors: "
                "ragqa index -c CONFIG builds it."
            )
        raise RagqaError(
            f"{missing:,} passages of {self.corpus.path} are not in its PLAID index: "
            "ragqa index -c CONFIG adds them."
        )

    def missing(self) -> int:
        """Return how many passages are not in the index."""
        return self._difference()[0]

    def _difference(self) -> tuple[int, int]:
        """Return how many passages the index lacks, and how many it has that are gone."""
        state = self.corpus.state()
        if self._compared is None or self._compared[0] != state:
            manifest = self._manifest()
            known, there = manifest.passages() if manifest else set(), self._in_corpus()
            self._compared = (state, len(there - known), len(known - there))
        return self._compared[1:]

    # -- building -----------------------------------------------------------------------------

    def build(self) -> int:
        """Bring the index up to date, in a new folder, and return how many passages were added or deleted."""
        with self.corpus.writing():
            wanted, current, manifest = self._in_corpus(), self._current(), self._manifest()
            known = manifest.passages() if manifest else set()
            new, gone = sorted(wanted - known), known - wanted
            root = plaid_root(self.corpus) / LAYOUT
            if not new and not gone:
                # A killed build leaves its folder, or the one that it replaced.
                _remove_others(root, current.name if current else None)
                return 0
            # A new name each time: whoever has the old index open must not take this one for it.
            folder = root / f"index-{uuid4().hex[:12]}"
            if not wanted:
                self._note(None)
            else:
                with self._writing(folder):
                    if manifest is None or current is None or self._rebuilds(manifest, new, gone):
                        self._make(folder, sorted(wanted))
                    else:
                        self._change(current, folder, manifest, new, gone)
                self._note(folder.name)
            _remove_others(root, folder.name if wanted else None)
        self._open = self._compared = None
        return len(new) + len(gone)

    def forget(self) -> None:
        """Delete the index, where the corpus has become too small for one."""
        if self._current() is not None:
            with self.corpus.writing():
                self._note(None)
                _remove_others(plaid_root(self.corpus) / LAYOUT, None)
        self._open = self._compared = None

    @contextmanager
    def _writing(self, folder: Path) -> Iterator[None]:
        """Leave nothing of `folder` where the block fails; a full disk is told in a sentence."""
        try:
            yield
        except BaseException as error:
            root = plaid_root(self.corpus)
            full = root.exists() and shutil.disk_usage(root).free < FULL_BELOW
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, Exception) and (full or _could_not_write(error)):
                # What the libraries say of a full disk is about places in a file.
                reason = "the disk is full" if full else str(error).splitlines()[0]
                raise RagqaError(
                    f"The PLAID index of {self.corpus.path} could not be written: {reason}."
                ) from error
            raise

    def _rebuilds(self, manifest: Manifest, new: Sequence[int], gone: set[int]) -> bool:
        """Tell whether a new index is made: where the library would make one, or would lose track of its ids.

        After a deletion RAGatouille counts its passages anew and its ids not, so that one that was
        deleted from cannot be added to.
        """
        if not new:
            return len(gone) > len(manifest.rowids) * REBUILT_GROWTH
        deleted = bool(gone) or None in manifest.rowids
        total = len(manifest.rowids) + len(new)
        return deleted or total < REBUILT_BELOW or len(new) > len(manifest.rowids) * REBUILT_GROWTH

    def _make(self, folder: Path, rowids: Sequence[int]) -> None:
        from ragqa.encoders.ragatouille.encoder import load_model

        root = plaid_root(self.corpus)
        root.mkdir(parents=True, exist_ok=True)
        model = load_model(stanford_layout(self.settings, self._revision), self.compute)
        model.model.run_config.root = model.model.config.root = str(root)
        passages = self.corpus.passages(rowids)
        with stored_vectors(self.store, passages), index_root(root):
            model.index(
                document_ids=[str(passage.rowid) for passage in passages],
                document_metadatas=[{"document_id": p.document_id, "passage_id": p.id} for p in passages],
                collection=[indexed_text(passage)[0] for passage in passages],
                index_name=folder.name,
                overwrite_index="force_silent_overwrite",
                max_document_length=512,
                split_documents=False,
                use_faiss=True,
            )
        self._finish(folder, tuple(passage.rowid for passage in passages))

    def _change(
        self, current: Path, folder: Path, manifest: Manifest, new: Sequence[int], gone: set[int]
    ) -> None:
        try:
            shutil.copytree(current, folder)
            trim_lists(folder)
        except (OSError, ValueError, RuntimeError, UnpicklingError) as error:
            raise RagqaError(f"The PLAID index {current} cannot be changed: {error}") from error
        model = self._from_index(folder)
        rowids = list(manifest.rowids)
        root = plaid_root(self.corpus)
        if gone:
            texts = list(model.model.collection)
            with index_root(root):
                model.delete_from_index([str(rowid) for rowid in sorted(gone)], index_name=folder.name)
            rowids = [None if rowid in gone else rowid for rowid in rowids]
            # The library closes the gaps among its texts and leaves those among its passages.
            kept = ["" if rowid is None else text for rowid, text in zip(rowids, texts, strict=True)]
            (folder / "collection.json").write_text(json.dumps(kept), encoding="utf-8")
        if new:
            passages = self.corpus.passages(new)
            with stored_vectors(self.store, passages), index_root(root):
                model.add_to_index(
                    [indexed_text(passage)[0] for passage in passages],
                    new_document_ids=[str(passage.rowid) for passage in passages],
                    new_document_metadatas=[
                        {"document_id": p.document_id, "passage_id": p.id} for p in passages
                    ],
                    index_name=folder.name,
                    split_documents=False,
                )
            rowids += new
        correct_counts(folder)
        self._finish(folder, tuple(rowids))

    def _finish(self, folder: Path, rowids: tuple[int | None, ...]) -> None:
        note = {"fingerprint": self.store.fingerprint, "rowids": rowids}
        (folder / MANIFEST).write_text(json.dumps(note), encoding="utf-8")

    # -- which folder -------------------------------------------------------------------------

    def _load(self) -> tuple[Any, Manifest]:
        """Return the library's model of the index in use, loaded again after every change."""
        folder, manifest = self._current(), self._manifest()
        if folder is None or manifest is None:
            raise RagqaError(f"The corpus {self.corpus.path} has no PLAID index: ragqa index -c CONFIG.")
        if self._open is None or self._open[0] != folder:
            self._open = (folder, self._from_index(folder), manifest)
        return self._open[1], self._open[2]

    def _from_index(self, folder: Path) -> Any:
        """Return a `RAGPretrainedModel` of the index in `folder`, whose questions our encoder encodes."""
        import torch

        from ragqa.encoders.ragatouille.taming import SEARCHING, ensure_compiled, tamed

        tamed(self.compute)
        ensure_compiled(SEARCHING)
        from ragatouille import RAGPretrainedModel

        checkpoint = stanford_layout(self.settings, self._revision).path
        encoder = self.store.encoder
        try:
            correct_paths(folder, plaid_root(self.corpus), checkpoint)
            model = RAGPretrainedModel.from_index(folder, verbose=0)
            index = model.model.model_index
            index.config.root = str(folder.parent)
            # Now, and not at the first question, so that a broken file is found here.
            index._load_searcher(model.model.checkpoint, model.model.collection, folder.name)
            index.searcher.encode = lambda text, full_length_search=False: torch.from_numpy(
                encoder.encode_queries([text])[0]
            )[None]
        except (OSError, ValueError, LookupError, RuntimeError, EOFError, UnpicklingError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise RagqaError(
                f"The PLAID index {folder} cannot be read ({reason}): delete that folder, then ragqa index."
            ) from error
        return model

    def _in_corpus(self) -> set[int]:
        return {row[0] for row in self.corpus.connection.execute("SELECT rowid FROM passages")}

    def _current(self) -> Path | None:
        name = (self.corpus.setting("plaid") or {}).get(self.store.fingerprint)
        folder = plaid_root(self.corpus) / LAYOUT / Path(str(name)).name
        return folder if name and (folder / MANIFEST).is_file() else None

    def _manifest(self) -> Manifest | None:
        folder = self._current()
        if folder is None:
            return None
        if self._open is not None and self._open[0] == folder:
            return self._open[2]
        try:
            note = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            manifest = Manifest(str(note["fingerprint"]), tuple(note["rowids"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RagqaError(
                f"The PLAID index {folder} cannot be read ({error}): delete that folder, then ragqa index."
            ) from error
        if manifest.fingerprint != self.store.fingerprint:
            raise RagqaError(
                f"The PLAID index {folder} holds the vectors of another model: delete that folder, "
                "then ragqa index -c CONFIG."
            )
        return manifest

    def _note(self, name: str | None) -> None:
        with self.corpus.transaction():
            # One index at a time: each is as large as the corpus.
            self.corpus.set_setting("plaid", {self.store.fingerprint: name} if name else {})


def _best_of(
    model: Any, manifest: Manifest, query: str, k: int, allowed: Set[int]
) -> tuple[list[int], list[float]]:
    """Return what `PlaidIndex.search` does, of all passages with the keys `allowed` compared.

    The library takes candidates from the nearest clusters, which may hold too few of them, unless it is told
    which passages to score.
    """
    searcher = model.model.model_index.searcher
    pids = [pid for pid, rowid in enumerate(manifest.rowids) if rowid in allowed]
    found: list[tuple[float, int]] = []
    for batch in batches(pids, UNPACKED):
        best, _, scores = searcher.search(query, k=k, pids=list(batch))
        found += [(-score, pid) for pid, score in zip(best, scores, strict=True)]
    kept = [(manifest.rowids[pid], -score) for score, pid in sorted(found)[:k]]
    return [rowid for rowid, _ in kept if rowid is not None], [score for _, score in kept]


def plaid_root(corpus: Corpus) -> Path:
    """Return the folder of the corpus' PLAID indexes, beside its file."""
    return corpus.path.absolute().with_name(corpus.path.name + ".plaid")


def plaid_status(corpus: Corpus, *, files: bool = False) -> list[dict[str, Any]]:
    """Return the index in use: folder, passages, bytes; with `files` each file and its tensors' shapes."""
    found = []
    for fingerprint, name in (corpus.setting("plaid") or {}).items():
        folder = plaid_root(corpus) / LAYOUT / Path(str(name)).name
        if not (folder / MANIFEST).is_file():
            continue
        try:
            note = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            known = {rowid for rowid in note["rowids"] if rowid is not None}
        except (OSError, ValueError, KeyError, TypeError):
            known = set()
        paths = sorted(folder.iterdir())
        there = {row[0] for row in corpus.connection.execute("SELECT rowid FROM passages")}
        index = {
            "fingerprint": fingerprint,
            "folder": str(folder),
            "passages": len(known & there),
            "missing": len(there - known),
            "bytes": sum(path.stat().st_size for path in paths),
        }
        if files:
            index["files"] = [
                {"name": path.name, "bytes": path.stat().st_size, "tensors": tensor_shapes(path)}
                for path in paths
            ]
        found.append(index)
    return found


def drop_plaid(corpus: Corpus, kept: Sequence[str]) -> None:
    """Delete the PLAID index unless it is of the vectors with one of these fingerprints."""
    if set(corpus.setting("plaid") or {}) - set(kept):
        with corpus.writing(), corpus.transaction():
            corpus.set_setting("plaid", {})
        shutil.rmtree(plaid_root(corpus), ignore_errors=True)


def _could_not_write(error: Exception) -> bool:
    """Tell whether it is the disk that failed: the tokenizers have no class of their own for it."""
    return isinstance(error, OSError) or "(os error" in str(error)


def _remove_others(root: Path, kept: str | None) -> None:
    for path in root.iterdir() if root.is_dir() else ():
        if path.name != kept:
            shutil.rmtree(path, ignore_errors=True)
