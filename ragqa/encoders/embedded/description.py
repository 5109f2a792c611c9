"""What is known of a model that comes along: name, file and hash, sizes, and what was fitted to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Fitted:
    """Constants that hold for the token vectors of one model alone, each fitted by a command that is kept.

    `python -m tests.workshop.answerable`: `answerability` is a logistic regression's intercept and its
    weights of match and lead (answer/answerable.py), `refuse_below` the score that 5% of the answerable
    questions fall below in the collection where most do, `refuse_strictly_below` that of 5% of all that was
    fitted to, `typical_lead` how far a passage that is lacking counts as behind. Words that carry
    meaning begin at place `first_word` of the vocabulary, which is in order of frequency.

    `python -m tests.workshop.support`: `support` are the weights of similar, said, numbers and names, and
    `support_intercept` theirs (answer/support.py), right and wrong statements on XQuAD and NQ passages
    weighing the same. `unrelated` and `same` are cosines of words that have nothing in common, and of a word
    and itself elsewhere.

    `spread` is what a cosine's distance from 1 is worth, of what it is worth between vectors of MiniLM, to
    which the constants of sentences were chosen (answer/evidence.py).
    """

    answerability: tuple[float, float, float]
    refuse_below: float
    refuse_strictly_below: float
    typical_lead: float
    first_word: int
    support: tuple[float, float, float, float]
    support_intercept: float
    unrelated: float
    same: float
    spread: float = 1.0


@dataclass(frozen=True, slots=True)
class EmbeddedModel:
    """A model that comes along; `name`, `weights` and `projection` are what an index notes of it.

    `file` holds its weights, below the folder that the build hook fills, `weights` is that file's SHA-256.
    A `.safetensors` file has numbers as its authors published them, an `.onnx` file has 8-bit integers as
    its packager made them, and the graph that runs them. Every model is a BERT with `layers` layers,
    hidden states of `hidden` numbers and the vocabulary of embedded/vocabulary.py.

    `pooling` tells how a text's one vector comes of its states, None where it has none that is good for
    anything; a question gets `query_prefix` in front. `tokens` is how many numbers a token vector has, 0
    where the model has none; `projection` is the SHA-256 of the file with the layer that makes them of
    hidden states, "" where those are the token vectors. `markers` are put behind [CLS] of a
    question and of a document. `pairs`: it reads a question and a passage together and gives their score;
    `evidence` is then the SHA-256 of the file that tells by the hidden states `states`, outputs of nodes of
    its graph, which tokens of the passage belong to an answer.
    `fitted` is None where nothing was fitted to its token vectors: what needs that takes the default model.
    """

    name: str
    file: str
    weights: str
    licence: str
    layers: int
    hidden: int = 384
    tokens: int = 0
    pooling: Literal["mean", "cls"] | None = None
    query_prefix: str = ""
    projection: str = ""
    markers: tuple[int, int] | None = None
    pairs: bool = False
    evidence: str = ""
    states: tuple[str, ...] = ()
    fitted: Fitted | None = None

    @property
    def packed(self) -> bool:
        """Whether its weights are 8-bit integers in an ONNX file."""
        return self.file.endswith(".onnx")
