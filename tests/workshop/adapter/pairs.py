"""Training pairs out of open data for the embedded model's adapter, and batches of them."""

from __future__ import annotations

import ast
import hashlib
import itertools
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragqa.corpus.passages import indexed_text
from ragqa.types import Passage

# How often a batch is of a kind. Questions that people asked come first; what a sentence says of its
# passage is like the claims that scientific collections ask for.
KINDS = {
    "nq_oracle": 0.2,
    "faq_zoomcamp": 0.12,
    "xquad_en": 0.08,
    "2wiki sentence": 0.2,
    "docstring": 0.2,
    "blog sentence": 0.06,
    "blog title": 0.05,
    "blog heading": 0.02,
    "til heading": 0.015,
    "til title": 0.015,
    "packages heading": 0.02,
    "packages sentence": 0.02,
}
QUESTIONS = ("nq_oracle", "xquad_en", "faq_zoomcamp")
SOURCES = {"til": "til.ndjson", "blog": "blog_entry.ndjson", "2wiki": "train/2wiki_passages.jsonl"}
# Packages whose docstrings are read; one that is not there is left out.
DOCUMENTED = (
    *("scipy", "numpy", "sklearn", "pandas", "torch", "networkx"),
    *("statsmodels", "astropy", "Bio", "skimage", "sympy", "fluids"),
)
# Near pairs that stand side by side in a batch, so that telling them apart takes more than the subject.
NEAR = 8
_SENTENCES = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'(])")
_LINKS = re.compile(r"!\[[^\]]*\]\([^)]*\)|(?<=\])\([^)\s]*\)|https?://\S+|<[^>]+>")
_WORDS = re.compile(r"[A-Za-z]{2,}")


@dataclass(frozen=True, slots=True)
class Pair:
    """A query and the text that answers it, from `document`."""

    kind: str
    query: str
    document: str
    text: str

    @property
    def held_out(self) -> bool:
        """Tell whether the pair measures and does not train: one document in ten."""
        return int(hashlib.sha256(self.document.encode()).hexdigest(), 16) % 10 == 0


def read_passages(data: Path) -> dict[str, list[Passage]]:
    """Return the passages of all sources, by document; ids begin with the source's name and a slash."""
    from ragqa.config import ChunkSettings
    from ragqa.corpus.database import Corpus
    from ragqa.corpus.ingest import ingest
    from ragqa.sources import Fields, open_sources

    opened = open_sources([], Fields(id_prefix="packages/"), packages=True)
    for name, file in {**SOURCES, **{name: name for name in QUESTIONS}}.items():
        opened += open_sources([str(data / file)], Fields(id_prefix=f"{name}/"))
    found: dict[str, list[Passage]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        Corpus.open(Path(folder) / "corpus.db", create=True) as corpus,
    ):
        ingest(corpus, opened, ChunkSettings())
        rows = corpus.connection.execute("SELECT rowid FROM passages ORDER BY rowid").fetchall()
        for passage in corpus.passages([row[0] for row in rows]):
            found.setdefault(passage.document_id, []).append(passage)
    return found


def make_pairs(data: Path, rng: np.random.Generator) -> list[Pair]:
    """Return all pairs, those that say too little left out."""
    passages = read_passages(data)
    made = itertools.chain(
        itertools.chain.from_iterable(question_pairs(data, name, passages) for name in QUESTIONS),
        itertools.chain.from_iterable(
            document_pairs(own, rng) for key, own in passages.items() if key.split("/")[0] not in QUESTIONS
        ),
        itertools.chain.from_iterable(docstring_pairs(name, rng) for name in DOCUMENTED),
    )
    return [pair for pair in made if len(pair.query) > 8 and _count(pair.text) >= 8 and pair.kind in KINDS]


def question_pairs(data: Path, name: str, passages: dict[str, list[Passage]]) -> Iterator[Pair]:
    """Yield the judged questions of a collection, each with the passage that holds its answer."""
    queries = {row["_id"]: row["text"] for row in _json_lines(data / name / "queries.jsonl")}
    answers = {row["id"]: row["golden_answers"] for row in _json_lines(data / name / "questions.jsonl")}
    for line in (data / name / "qrels/test.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, _ = line.split("\t")
        key = f"{name}/{document}"
        if key in passages and query in queries:
            asked = set(re.findall(r"\w+", queries[query].lower()))
            best = max(
                passages[key],
                key=lambda passage: (
                    any(answer in passage.text for answer in answers.get(query, [])),
                    len(asked & set(re.findall(r"\w+", passage.text.lower()))),
                ),
            )
            yield Pair(name, queries[query], key, indexed_text(best)[0])


def document_pairs(passages: Sequence[Passage], rng: np.random.Generator) -> Iterator[Pair]:
    """Yield title, headings and single sentences of a document, each with the text that it stands over or in.

    What is the query is taken out of the text: finding it again would teach to compare words.
    """
    for place, passage in enumerate(passages):
        key, title = passage.document_id, passage.title
        source = key.split("/")[0]
        body = re.sub(r"^\s*#+ .*\n", "", passage.text)
        if source != "2wiki" and place == 0 and _count(title) >= 3:
            yield Pair(f"{source} title", title, key, body)
        if source != "2wiki" and passage.headings:
            heading = _plain(passage.headings[-1])
            query = f"{title} {heading}" if rng.random() < 0.5 else heading
            if _count(heading) >= 2 and _count(query) >= 3:
                over = title if rng.random() < 0.5 and heading == query else ""
                yield Pair(f"{source} heading", query, key, f"{over}\n{body}" if over else body)
        sentences = _SENTENCES.split(passage.text)
        fit = [one for one in sentences if 7 <= _count(_plain(one)) <= 35 and len(_plain(one)) < 260]
        if len(sentences) >= 3 and fit:
            sentence = fit[int(rng.integers(len(fit)))]
            rest = replace(passage, text=passage.text.replace(sentence, "", 1))
            yield Pair(f"{source} sentence", _plain(sentence), key, indexed_text(rest)[0])


def docstring_pairs(package: str, rng: np.random.Generator) -> Iterator[Pair]:
    """Yield the summary line of each function and class of a package with the prose below it."""
    spec = find_spec(package)
    folder = Path(str(spec.origin)).parent if spec is not None else Path()
    seen: set[str] = set()
    for path in sorted(folder.rglob("*.py")) if spec is not None else ():
        if {"tests", "testing", "_vendor"} & set(path.parts):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
                continue
            summary, _, below = (ast.get_docstring(node) or "").partition("\n\n")
            summary = _plain(summary)
            first, *sections = re.split(r"\n(?=[A-Z][A-Za-z ]+\n-{3,})", f"\n{below}")
            notes = [section for section in sections if section.startswith("Notes\n")]
            prose = re.sub(r"\n-{3,}", "", "\n".join([first, *notes])).split(">>>")[0]
            if 4 <= _count(summary) <= 40 and _count(prose) >= 30 and summary not in seen:
                seen.add(summary)
                title = "" if rng.random() < 0.5 else f"{package} > {node.name}\n"
                name = f"docstring/{package}.{node.name}"
                yield Pair("docstring", summary, name, title + prose.strip()[:1200])


def sampled(pairs: Sequence[Pair], count: int, rng: np.random.Generator) -> list[Pair]:
    """Return `count` pairs at most, of each kind as large a share as its batches have."""
    places: dict[str, list[int]] = {}
    for place in rng.permutation(len(pairs)).tolist():
        places.setdefault(pairs[place].kind, []).append(place)
    return [
        pairs[place]
        for kind, share in KINDS.items()
        for place in places.get(kind, [])[: round(count * share)]
    ]


class Material:
    """Pairs with what training needs of them, by their places."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = pairs
        self.documents = np.array([pair.document for pair in pairs])
        self.kinds = np.array([pair.kind for pair in pairs])
        self.held_out = np.array([pair.held_out for pair in pairs])
        self.groups = {kind: self._near(kind) for kind in KINDS}

    def _near(self, kind: str) -> list[NDArray[np.int64]]:
        """Return the training pairs of a kind in groups of like texts."""
        from sklearn.cluster import MiniBatchKMeans
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.preprocessing import normalize

        places = np.flatnonzero((self.kinds == kind) & ~self.held_out)
        words = TfidfVectorizer(token_pattern=r"[A-Za-z0-9]{2,}", stop_words="english", sublinear_tf=True)
        texts = words.fit_transform([self.pairs[place].text for place in places.tolist()])
        rows = normalize(TruncatedSVD(64, random_state=0, n_iter=3).fit_transform(texts))
        count = max(2, len(places) // 80)
        labels = MiniBatchKMeans(count, random_state=0, n_init=1).fit_predict(rows)
        return [places[labels == label] for label in range(count)]

    def batches(self, kind: str, size: int, rng: np.random.Generator) -> Iterator[list[int]]:
        """Yield batches without end, NEAR near pairs beside each other, no document twice.

        A kind of fewer documents than `size` gives smaller ones.
        """
        size = min(size, len(set(self.documents[np.concatenate(self.groups[kind])])))
        while True:
            parts = [
                group[start : start + NEAR]
                for group in map(rng.permutation, self.groups[kind])
                for start in range(0, len(group), NEAR)
            ]
            batch: dict[str, int] = {}
            for place in itertools.chain.from_iterable(parts[part] for part in rng.permutation(len(parts))):
                batch.setdefault(self.documents[place], int(place))
                if len(batch) == size:
                    yield list(batch.values())
                    batch = {}


def _json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file of JSON lines; none where there is no file."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines if line]


def _plain(text: str) -> str:
    """Return text without Markdown's marks, on one line."""
    return " ".join(_LINKS.sub("", text).translate(str.maketrans("", "", "[]`*#")).split()).strip("-|>=_ ")


def _count(text: str) -> int:
    return len(_WORDS.findall(text))
