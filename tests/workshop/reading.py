"""`python -m tests.workshop.reading QUESTIONS=CORPUS…`: learns where in a passage an answer stands.

The embedded cross-encoder was trained to say how well a passage answers a question. What it makes of each
token on the way says where the answer stands as well: one linear layer over two of its hidden states, and
over the pair's score, reads that. It is fitted to questions with golden answers, so that the tokens of the
golden answer in the relevant documents have the largest part of a softmax over all tokens of the first
passages found: the loss of a question is -log of that part.

It fits on one half of the documents, writes the layer, prints its hash, and reports on the other half, and
on collections that it was not fitted to (`--transfer`), how many words of quotations hold how many answers.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from ragqa.answer.quoting import quotations
from ragqa.answer.reading import READ, ReadText, read_texts
from ragqa.cli import show
from ragqa.cli.run import run
from ragqa.corpus.passages import indexed_text
from ragqa.encoders.embedded.cross_encoder import CROSS_ENCODER
from ragqa.encoders.embedded.files import EVIDENCE
from ragqa.encoders.embedded.vocabulary import MAX_TOKENS
from ragqa.encoders.onnx_engine import LeanPairs, Reading, cut_at
from ragqa.encoders.onnx_transformer import PackedTransformer, load_transformer
from ragqa.encoders.tokens import Vectors
from ragqa.evaluate.answers import contains_answer
from ragqa.evaluate.questions import JudgedQuestion, load_questions
from ragqa.operations.corpus import build_index
from ragqa.pipeline import Pipeline
from ragqa.types import Passage
from tests.workshop.fitting import Collections, Seed, Transfer, is_fitted, parse_collection

if TYPE_CHECKING:
    from torch import Tensor

# Steps: passes over the questions, questions in a step, the highest rate, how much large weights cost.
EPOCHS, QUESTIONS, RATE, DECAY = 12, 16, 6e-3, 1.0
CURVE = (50, 70, 90, 110)


@dataclass(frozen=True, slots=True)
class Material:
    """A question's tokens: states, the pair's score for each, and which belong to a golden answer."""

    states: Vectors
    scores: Vectors
    golden: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with the first passages found."""

    question: JudgedQuestion
    passages: Sequence[Passage]


def ask(questions: Sequence[JudgedQuestion], db: Path, what: str) -> Iterator[Asked]:
    """Yield the questions with what `default` finds for them."""
    with Pipeline.from_config("default", db) as pipeline, show.progress(what) as advance:
        build_index(pipeline, on_passages=lambda done, total: None)
        for done, question in enumerate(questions, 1):
            hits = pipeline.search(question.text).hits[:READ]
            yield Asked(question, [hit.passage for hit in hits])
            advance(done, len(questions))


def material(asked: Asked) -> Material | None:
    """Return what is learned from a question; None where no passage of a relevant document has the answer."""
    layers = load_transformer(CROSS_ENCODER)
    assert isinstance(layers, PackedTransformer)
    question, _ = cut_at(asked.question.text, LeanPairs.QUESTION)
    states, scores, golden = [], [], []
    texts = [indexed_text(passage) for passage in asked.passages]
    cut = [cut_at(text, MAX_TOKENS - len(question) + 1) for text, _ in texts]
    found = layers.readings([(question, ids[1:]) for ids, _ in cut])
    for passage, (_, prefix), (_, offsets), (score, of) in zip(
        asked.passages, texts, cut, found, strict=True
    ):
        spans = np.array(offsets[1:], np.int32).reshape(-1, 2)
        own = (spans[:, 0] >= prefix) & (spans[:, 1] > 0)
        right = np.zeros(len(spans), bool)
        if asked.question.relevant.get(passage.document_id, 0) > 0:
            for start, end in _places(passage.text, asked.question.golden_answers):
                right |= (spans[:, 0] - prefix < end) & (spans[:, 1] - prefix > start)
        states.append(of[own])
        scores.append(np.full(own.sum(), score, np.float32))
        golden.append(right[own])
    joined = np.concatenate(golden) if golden else np.zeros(0, bool)
    if not joined.any():
        return None
    return Material(np.concatenate(states), np.concatenate(scores), joined)


def _places(text: str, golden: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield where a golden answer stands in a text, whatever is between its words."""
    for answer in golden:
        words = re.findall(r"\w+", answer)
        if words:
            joined = r"\W+".join(map(re.escape, words))
            yield from (match.span() for match in re.finditer(rf"(?<!\w){joined}(?!\w)", text, re.I))


def learn(found: Sequence[Material], seed: int) -> NDArray[np.float32]:
    """Return the weights of a token's states, and last that of the pair's score."""
    import torch

    torch.manual_seed(seed)
    sample = torch.from_numpy(np.concatenate([one.states for one in found[::3]]))
    mean, spread = sample.mean(0), sample.std(0) + 1e-6
    layer = torch.nn.Parameter(torch.zeros(len(mean)))
    of_score = torch.nn.Parameter(torch.tensor(0.1))
    optimiser = torch.optim.AdamW([layer, of_score], lr=RATE, weight_decay=DECAY)
    steps = EPOCHS * -(-len(found) // QUESTIONS)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    draw = np.random.default_rng(seed)
    for _ in range(EPOCHS):
        order = draw.permutation(len(found))
        for start in range(0, len(order), QUESTIONS):
            losses = [
                _loss(found[place], mean, spread, layer, of_score) for place in order[start:][:QUESTIONS]
            ]
            optimiser.zero_grad()
            torch.autograd.backward(torch.stack(losses).mean())
            optimiser.step()
            schedule.step()
    weights: NDArray[np.float32] = (layer.detach() / spread).numpy()
    return np.append(weights, np.float32(of_score.detach().item()))


def _loss(one: Material, mean: Tensor, spread: Tensor, layer: Any, of_score: Any) -> Tensor:
    import torch

    states = (torch.from_numpy(one.states) - mean) / spread
    evidence = states @ layer + of_score * torch.from_numpy(one.scores)
    golden: Tensor = torch.logsumexp(evidence[torch.from_numpy(one.golden)], 0)
    return torch.logsumexp(evidence, 0) - golden


class _Learned(LeanPairs):
    """The cross-encoder with weights that were just learned."""

    def __init__(self, weights: NDArray[np.float32]) -> None:
        super().__init__()
        self._weights = weights

    def read(self, question: str, texts: Sequence[str]) -> list[Reading]:
        return self.readings(question, texts, self._weights)


def curve(name: str, read: Sequence[tuple[JudgedQuestion, Sequence[ReadText]]]) -> str:
    """Return a row of the table: how many answers are held, in how many words on average."""
    cells = []
    for words in CURVE:
        texts = ["\n".join(quotation.text for quotation in quotations(one, words)) for _, one in read]
        held = [
            contains_answer(text, question.golden_answers)
            for (question, _), text in zip(read, texts, strict=True)
        ]
        cells.append(f"{np.mean(held):.3f} in {np.mean([len(text.split()) for text in texts]):.0f}")
    return f"| {name} | {len(read)} | {' | '.join(cells)} |"


def command(
    collections: Collections,
    transfer: Transfer = None,
    out: Annotated[Path, typer.Option(help="Where the layer is written.")] = EVIDENCE,
    sample: Annotated[int, typer.Option(min=1, help="Questions of each collection to fit to.")] = 600,
    report: Annotated[int, typer.Option(min=1, help="Questions of each to report on.")] = 300,
    only_report: Annotated[bool, typer.Option(help="Fit nothing: report on what is shipped.")] = False,
    seed: Seed = 0,
) -> None:
    """Fit on half of the documents, write the layer, report on the rest."""
    learned: list[Material] = []
    kept: list[tuple[str, Path, list[JudgedQuestion]]] = []
    for text in [*collections, *(transfer or [])]:
        path, db = parse_collection(text)
        everything = load_questions(path)
        questions = [question for question in everything.questions if question.golden_answers]
        random.Random(seed).shuffle(questions)
        apart = text in (transfer or [])
        kept.append((everything.name, db, [one for one in questions if apart or not is_fitted(one)][:report]))
        if not apart and not only_report:
            chosen = [one for one in questions if is_fitted(one)][:sample]
            found = (material(asked) for asked in ask(chosen, db, everything.name))
            learned += [one for one in found if one is not None]
    pairs = LeanPairs()
    if learned:
        weights = learn(learned, seed)
        np.save(out, weights)
        pairs = _Learned(weights)
        print(f"{out}: sha256 {hashlib.sha256(out.read_bytes()).hexdigest()}, of {len(learned)} questions\n")
    print(f"| collection | questions | {' | '.join(f'at most {words} words' for words in CURVE)} |")
    print(f"| --- | ---: |{' --- |' * len(CURVE)}")
    for name, db, questions in kept:
        read = [
            (asked.question, read_texts(pairs, asked.question.text, list(map(indexed_text, asked.passages))))
            for asked in ask(questions, db, name)
        ]
        print(curve(name, read), flush=True)


if __name__ == "__main__":
    run(lambda: typer.run(command))
