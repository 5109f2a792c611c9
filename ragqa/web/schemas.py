"""What the API takes and returns, for OpenAPI: the forms are those of `--json`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ragqa.config import Strict
from ragqa.service.library import MOST_HITS

CONFIG = Field(default="", description="One of the server's configs; the first of them when left out.")
QUESTION = Field(description="A whole question in plain words.")


class SearchRequest(Strict):
    question: str = QUESTION
    k: int | None = Field(default=None, ge=1, le=MOST_HITS, description="How many passages.")
    config: str = CONFIG


class AskRequest(Strict):
    question: str = QUESTION
    config: str = CONFIG
    model: str = Field(default="", description="A model of llm's by name; the server's when left out.")


class ExplainRequest(SearchRequest):
    document: str | None = Field(
        default=None, description="Explain the passages of the document with this id, found or not."
    )


class Form(BaseModel):
    """A form that may grow: readers take the keys that they know, and are promised no others' absence."""

    # Here a key too many is a mistake, and the schema that is published does not speak of it.
    model_config = ConfigDict(
        extra="forbid", json_schema_extra=lambda schema: schema.pop("additionalProperties", None)
    )


class PlaceForm(Form):
    kind: str
    label: str
    first: int
    last: int


class HitForm(Form):
    rank: int
    score: float
    document_id: str
    passage_id: str
    location: str
    place: PlaceForm | None
    title: str
    source: str
    text: str
    metadata: dict[str, Any]
    scores: dict[str, float]


class SearchForm(Form):
    question: str
    config: str
    hits: list[HitForm]
    timings_ms: dict[str, float]


class CitationForm(Form):
    number: int
    document_id: str
    passage_id: str
    location: str
    place: PlaceForm | None
    support: float | None


class SentenceForm(Form):
    start: int
    end: int
    text: str
    cited: list[int]
    support: float
    best: int | None
    verdict: Literal["supported", "unsupported", "wrong citation"]


class AnswerForm(SearchForm):
    answer: str
    model: str
    refused: bool
    refused_by: Literal["model", "scores"] | None
    context_tokens: int
    conversation_id: str | None
    citations: list[CitationForm]
    removed_citations: list[int]
    sentences: list[SentenceForm]


class WordForm(Form):
    text: str
    start: int
    end: int


class ExplainedHitForm(HitForm):
    rank: int | None  # type: ignore[assignment]
    ranks: dict[str, int]
    matches: list[dict[str, Any]]


class ExplanationForm(Form):
    question: str
    config: str
    document: str | None
    candidates: int
    query_words: list[WordForm]
    hits: list[ExplainedHitForm]


class ConfigState(Form):
    name: str
    description: str
    ready: bool
    stale: dict[str, int] = Field(description="Passages that a stage does not have yet.")
    problem: str | None
    command: str | None = Field(description="What mends it.")


class StatusForm(BaseModel):
    ready: bool = Field(description="Whether all models are loaded.")
    model: str | None = Field(description="What answers where a question names no model; null: the config's.")
    configs: list[ConfigState]
    path: str
    bytes: int
    documents: int
    passages: int
    chunk: dict[str, Any] | None
    origins: list[dict[str, Any]]
    full_text: list[dict[str, Any]]
    encoders: list[dict[str, Any]]
    embedders: list[dict[str, Any]]
    plaid: list[dict[str, Any]]


class PassageForm(Form):
    passage_id: str
    start: int
    end: int
    headings: list[str]


class DocumentForm(Form):
    document_id: str
    title: str
    source: str
    metadata: dict[str, Any]
    format: Literal["markdown", "text"]
    text: str
    passages: list[PassageForm]


class ErrorForm(Form):
    error: str = Field(description="A sentence that says what happened and what to do about it.")
