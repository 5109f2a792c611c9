"""`python -m tests.workshop.projection DATA`: learns the layer that answerai-colbert-small-v1 lacks.

The published model reads its 12 layers' states through 96 numbers; the file that comes along ends with the
384 of a state. MaxSim of the states themselves ranks well, and costs four times as much to keep and to
multiply. So the layer is learned anew: for questions and passages of no test collection, the best match of
each token of a question in each passage shall be what it is between states (the teacher), and so shall their
sum, MaxSim.

The loss of a step, with T and S the best matches of teacher and student, shape (passages, tokens of
questions), each less its mean over the passages, since what all passages have in common orders none of them,
and S times a number that is learned along: mean((S - T)^2) + mean over questions of (sum S - sum T)^2 /
tokens. The layer begins as the principal axes of the states.

Texts: the passages of 2WikiMultihopQA and the entries of a blog in DATA. Questions: sentences of them, cut,
mixed with titles and question words; no test collection's text is seen.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from ragqa.cli import show
from ragqa.cli.run import run
from ragqa.encoders.embedded.colbert_small import COLBERT_SMALL
from ragqa.encoders.embedded.files import PROJECTION
from ragqa.encoders.embedded.vocabulary import punctuation
from ragqa.encoders.onnx_engine import cut_at
from ragqa.encoders.onnx_transformer import load_transformer
from ragqa.sources.text import read_markup

if TYPE_CHECKING:
    from torch import Tensor

DIMENSIONS = 96
# Texts that are used, words of a blog's entry in one, tokens of a text and of a question at most.
TEXTS, WORDS, LONGEST, LONGEST_QUESTION = 9000, 130, 300, 40
# Passages and questions of a step, its rates.
PASSAGES, QUESTIONS, RATE, SCALE_RATE, WARM_UP = 48, 24, 2e-3, 1e-2, 50
ASKING = ("what", "who", "when", "how", "why", "where")
AT_ONCE = 256


def texts(data: Path, seed: int) -> list[tuple[str, str]]:
    """Return titles and texts to learn from, mixed."""
    found = []
    for line in (data / "train" / "2wiki_passages.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found.append((row["title"], row["text"]))
    for line in (data / "blog_entry.ndjson").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        words = read_markup(row["body"], "html").text.split()
        parts = (words[start : start + WORDS] for start in range(0, min(len(words), 5 * WORDS), WORDS))
        found += [(row["title"], " ".join(part)) for part in parts if len(part) > WORDS // 4]
    random.Random(seed).shuffle(found)
    return found[:TEXTS]


def question(title: str, text: str, draw: random.Random) -> str:
    """Return something that might be asked of a text: part of a sentence, with the title, or words of it."""
    sentences = [part for part in re.split(r"(?<=[.!?])\s+", text) if len(part.split()) >= 3]
    if not sentences:
        return title
    words = draw.choice(sentences).split()
    kind = draw.random()
    if kind < 0.4:
        words = words[: draw.randint(5, 24)]
    elif kind < 0.7:
        words = title.split() + words[: draw.randint(3, 12)]
    else:
        long = [word for word in words if len(word) > 3]
        words = draw.sample(long, min(len(long), draw.randint(2, 8))) or words
    return " ".join([draw.choice(ASKING), *words] if draw.random() < 0.3 else words)


def states(rows: Sequence[list[int]], what: str) -> list[Tensor]:
    """Return the L2-normalised states of each text, in bfloat16."""
    import torch

    layers = load_transformer(COLBERT_SMALL)
    found: list[Tensor] = []
    with show.progress(what) as advance:
        for start in range(0, len(rows), AT_ONCE):
            for matrix in layers.states(rows[start : start + AT_ONCE]):
                unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
                found.append(torch.from_numpy(unit).bfloat16())
            advance(min(start + AT_ONCE, len(rows)), len(rows))
    return found


def axes(matrices: Sequence[Tensor], dimensions: int) -> Tensor:
    """Return the principal axes of the states, shape (hidden, dimensions): the directions of most length."""
    import torch

    sample = torch.cat(list(matrices)).float()
    _, vectors = torch.linalg.eigh(sample.T @ sample / len(sample))
    first: Tensor = vectors[:, -dimensions:].clone()
    return first


def learn(
    passages: Sequence[Tensor], questions: Sequence[Tensor], dimensions: int, steps: int, seed: int
) -> Iterator[tuple[int, float, float, Any]]:
    """Yield, for each step, its number, what S leaves of the variance of T and of MaxSim, and the layer."""
    import torch
    from torch.nn.functional import normalize

    layer = torch.nn.Parameter(axes(passages[: len(passages) // 4], dimensions))
    scale = torch.nn.Parameter(torch.tensor(1.0))
    optimiser = torch.optim.Adam([{"params": [layer], "lr": RATE}, {"params": [scale], "lr": SCALE_RATE}])
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps)),
    )
    draw = np.random.default_rng(seed)
    for step in range(1, steps + 1):
        chosen = draw.choice(len(passages), PASSAGES, replace=False)
        texts = [passages[place].float() for place in chosen]
        asked = [questions[place].float() for place in chosen[:QUESTIONS]]
        lengths, tokens = [len(text) for text in texts], [len(one) for one in asked]
        documents, queries = torch.cat(texts), torch.cat(asked)
        with torch.no_grad():
            teacher = _centred(_best(documents, queries, lengths))
        student = scale * _centred(_best(normalize(documents @ layer), normalize(queries @ layer), lengths))
        each = ((student - teacher) ** 2).mean()
        sums = [
            torch.stack([part.sum(1) for part in torch.split(both, tokens, 1)]) for both in (student, teacher)
        ]
        whole = ((sums[0] - sums[1]) ** 2).mean()
        loss = each + whole / (sum(tokens) / len(tokens))
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        yield step, float(each / teacher.var()), float(whole / sums[1].var()), layer


def _best(documents: Tensor, queries: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return the highest product of each query vector with those of each document: (documents, vectors)."""
    import torch

    products = (documents.bfloat16() @ queries.bfloat16().T).float()
    return torch.stack([part.max(0).values for part in torch.split(products, list(lengths))])


def _centred(best: Tensor) -> Tensor:
    return best - best.mean(0)


def command(
    data: Annotated[Path, typer.Argument(help="The folder with train/ and blog_entry.ndjson.")],
    out: Annotated[Path, typer.Option(help="Where the layer is written.")] = PROJECTION,
    dimensions: Annotated[int, typer.Option(min=8, max=384)] = DIMENSIONS,
    steps: Annotated[int, typer.Option(min=1)] = 3000,
    seed: Annotated[int, typer.Option()] = 5,
) -> None:
    """Learn the projection, write it, and print the hash that embedded/colbert_small.py must have for it."""
    assert COLBERT_SMALL.markers is not None
    for_question, for_document = COLBERT_SMALL.markers
    found, draw = texts(data, seed), random.Random(seed)
    bodies = [cut_at(f"{title}\n{text}", LONGEST, for_document)[0] for title, text in found]
    asked = [cut_at(question(*pair, draw), LONGEST_QUESTION, for_question)[0] for pair in found]
    passages = [
        matrix[~np.isin(row, punctuation())]
        for row, matrix in zip(bodies, states(bodies, "passages"), strict=True)
    ]
    layer: Any = None
    recent: list[tuple[float, float]] = []
    for step, each, whole, changed in learn(passages, states(asked, "questions"), dimensions, steps, seed):
        recent.append((each, whole))
        layer = changed
        if step % 100 == 0 or step == steps:
            tokens, sums = np.mean(recent, axis=0)
            print(
                f"step {step}: left of the variance of tokens {tokens:.4f}, of MaxSim {sums:.4f}", flush=True
            )
            recent = []
    np.save(out, layer.detach().numpy().astype(np.float16))
    print(f"{out}: sha256 {hashlib.sha256(out.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    run(lambda: typer.run(command))
