"""The JSON schemas of `ragqa mcp`: what its tools take, and the forms that they return (docs/json.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

TEXT = {"type": "string"}
NUMBER = {"type": "number"}
WHOLE = {"type": "integer"}
ANY_OBJECT = {"type": "object"}
NAMED_NUMBERS = {"type": "object", "additionalProperties": NUMBER}


def _or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


def _list(items: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _object(**properties: Mapping[str, Any]) -> dict[str, Any]:
    # More keys may come: a form grows, and a reader of it takes what it knows.
    return {"type": "object", "properties": properties, "required": list(properties)}


PLACE = _object(kind=TEXT, label=TEXT, first=WHOLE, last=WHOLE)
HIT = _object(
    rank=WHOLE,
    score=NUMBER,
    document_id=TEXT,
    passage_id=TEXT,
    location=TEXT,
    place=_or_null(PLACE),
    title=TEXT,
    source=TEXT,
    text=TEXT,
    metadata=ANY_OBJECT,
    scores=NAMED_NUMBERS,
)
_FOUND = {
    "question": TEXT,
    "config": TEXT,
    "hits": _list(HIT),
    "timings_ms": NAMED_NUMBERS,
    "left_out": {**WHOLE, "description": "How many more hits there were than a result may hold."},
}
SEARCH = _object(**_FOUND)
ANSWER = _object(
    **_FOUND,
    answer=TEXT,
    model=TEXT,
    refused={"type": "boolean"},
    context_tokens=WHOLE,
    citations=_list(
        _object(
            number=WHOLE,
            document_id=TEXT,
            passage_id=TEXT,
            location=TEXT,
            place=_or_null(PLACE),
            support=_or_null(NUMBER),
        )
    ),
    removed_citations=_list(WHOLE),
    sentences=_list(
        _object(start=WHOLE, end=WHOLE, text=TEXT, cited=_list(WHOLE), support=NUMBER, verdict=TEXT)
    ),
)
DOCUMENT = _object(
    document_id=TEXT,
    title=TEXT,
    source=TEXT,
    metadata=ANY_OBJECT,
    characters=WHOLE,
    offset=WHOLE,
    next_offset=_or_null(WHOLE),
    text=TEXT,
)
STATUS = _object(
    path=TEXT,
    bytes=WHOLE,
    documents=WHOLE,
    passages=WHOLE,
    origins=_list(ANY_OBJECT),
    encoders=_list(ANY_OBJECT),
    embedders=_list(ANY_OBJECT),
)


def input_schema(model: type[BaseModel], config: str, configs: Sequence[str]) -> dict[str, Any]:
    """Return the schema of a tool's arguments; a `config` is one of `configs`, `config` by default."""
    schema = model.model_json_schema()
    for name, about in schema.get("properties", {}).items():
        about.pop("title", None)
        if name == "config":
            about["enum"] = [*configs, None]
            about["description"] = f"How to search; {config} when left out."
    return {key: value for key, value in schema.items() if key not in ("title", "description")}
