"""How a pushed corpus lies in a Lance dataset: its columns, and what it says of itself."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ragqa.corpus.places import read_place, write_place
from ragqa.errors import RagqaError
from ragqa.types import Passage

if TYPE_CHECKING:
    import pyarrow as pa

TABLE = "passages"
# The version that readers search: what the last push that came to its end made.
CURRENT, PREVIOUS = "current", "previous"
# Another number wherever the same settings come to mean other columns.
FORMAT = 2
_KEY = b"ragqa"

DENSE, TOKENS, FULL_TEXT = "dense", "tokens", "full_text"
# What is read of a row to make a passage.
PASSAGE = (
    *("digest", "document_id", "ordinal", "start", "end"),
    *("title", "headings", "text", "source", "metadata", "place"),
)
# The packed vectors, as the corpus file has them: what is searched approximately is scored again by them.
DENSE_CODES = ("dense_codes",)
TOKEN_CODES = ("token_count", "token_codes", "token_members")


@dataclass(frozen=True, slots=True)
class Vectors:
    """One kind of vectors in a dataset: the store's fingerprint and description, the number format."""

    fingerprint: str
    description: str
    dimensions: int
    codec: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What decides a dataset's rows besides the passages; kept in the schema.

    `multivector` says whether token vectors are there a second time, as numbers that can be searched.
    """

    chunk: str
    dense: Vectors | None = None
    tokens: Vectors | None = None
    multivector: bool = False

    def dump(self) -> bytes:
        kinds = {name: _fields(getattr(self, name)) for name in ("dense", "tokens")}
        values = {"format": FORMAT, "chunk": self.chunk, "multivector": self.multivector, **kinds}
        return json.dumps(values, sort_keys=True).encode()

    @classmethod
    def of(cls, schema: pa.Schema, uri: str) -> Manifest:
        """Return what a dataset says of itself; raises RagqaError for one that no push of ours made."""
        raw = (schema.metadata or {}).get(_KEY)
        if raw is None:
            raise RagqaError(f"{uri} has a table {TABLE!r}, but ragqa push did not make it.")
        values = json.loads(raw)
        if values["format"] != FORMAT:
            raise RagqaError(f"{uri} was pushed by another version of ragqa: push it anew with --anew.")
        dense, tokens = (values[name] and Vectors(**values[name]) for name in ("dense", "tokens"))
        return cls(values["chunk"], dense, tokens, values["multivector"])


def _fields(vectors: Vectors | None) -> dict[str, Any] | None:
    return None if vectors is None else {name: getattr(vectors, name) for name in Vectors.__slots__}


def schema(manifest: Manifest, metadata: Mapping[str, pa.DataType]) -> pa.Schema:
    """Return the columns of a dataset; `metadata` are those of the documents' own keys, by column."""
    import pyarrow as pa

    fields: list[tuple[str, pa.DataType]] = [
        ("digest", pa.string()),
        ("document_id", pa.string()),
        ("ordinal", pa.int32()),
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("title", pa.string()),
        ("headings", pa.string()),
        ("text", pa.string()),
        ("source", pa.string()),
        ("metadata", pa.string()),
        ("place", pa.string()),
        (FULL_TEXT, pa.string()),
    ]
    if manifest.dense is not None:
        vector = pa.list_(pa.float16(), manifest.dense.dimensions)
        fields += [(DENSE, vector), (DENSE_CODES[0], pa.binary())]
    if manifest.tokens is not None:
        fields += zip(TOKEN_CODES, (pa.int32(), pa.binary(), pa.binary()), strict=True)
        if manifest.multivector:
            fields.append((TOKENS, pa.list_(pa.list_(pa.float16(), manifest.tokens.dimensions))))
    fields += sorted(metadata.items())
    return pa.schema(fields, {_KEY: manifest.dump()})


def digest(passage: Passage) -> str:
    """Return what a row is known by: 32 hex digits of the SHA-256 of the passage without its key.

    With the same encoders, passages with the same digest have the same vectors.
    """
    values = [
        *(passage.document_id, passage.ordinal, passage.start, passage.end, passage.title),
        *(list(passage.headings), passage.text, passage.source, passage.metadata),
        write_place(passage.place),
    ]
    said = json.dumps(values, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def full_text(passage: Passage) -> str:
    """Return what full text searches: a title counts twice, as in the stage `fts`."""
    return "\n".join([passage.title, passage.title, *passage.headings, passage.text])


def passage_of(row: Mapping[str, Any]) -> Passage:
    """Return the passage of a row; its key is negative and made of the digest."""
    return Passage(
        rowid=key_of(row["digest"]),
        document_id=row["document_id"],
        ordinal=row["ordinal"],
        start=row["start"],
        end=row["end"],
        title=row["title"],
        headings=tuple(row["headings"].split("\n")) if row["headings"] else (),
        text=row["text"],
        source=row["source"],
        metadata=json.loads(row["metadata"]),
        place=read_place(row["place"]),
    )


def key_of(digest: str) -> int:
    """Return the key of a passage outside of a corpus file: no row of one has a negative key."""
    return -1 - int(digest[:14], 16)


# -- the documents' own metadata ------------------------------------------------------------------

# How values of a key are kept. A list has a column of its own beside that of single values.
TEXT, NUMBER, TEXTS, NUMBERS = "text", "number", "texts", "numbers"
_OWN = re.compile(r"[a-z0-9]")


def metadata_column(key: str, kind: str) -> str:
    """Return the name of the column with the values of `key` that are of a kind.

    What is no small letter or digit is written as its bytes, so that two keys never share a column.
    """
    letters = "".join(
        letter if _OWN.fullmatch(letter) else "_" + letter.encode().hex() + "_" for letter in key
    )
    return f"meta_{kind}_{letters}"


def metadata_types() -> dict[str, pa.DataType]:
    """Return the type of a metadata column by its kind."""
    import pyarrow as pa

    single = {TEXT: pa.string(), NUMBER: pa.float64()}
    return {**single, TEXTS: pa.list_(single[TEXT]), NUMBERS: pa.list_(single[NUMBER])}


def metadata_values(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document's metadata by column; what is neither text, number nor list has none."""
    values: dict[str, Any] = {}
    for key, value in metadata.items():
        if isinstance(value, list):
            for kind, listed in ((TEXTS, _texts(value)), (NUMBERS, _numbers(value))):
                if listed:
                    values[metadata_column(key, kind)] = listed
        elif _texts([value]):
            values[metadata_column(key, TEXT)] = value
        elif _numbers([value]):
            values[metadata_column(key, NUMBER)] = float(value)
    return values


def _texts(values: Sequence[Any]) -> list[str]:
    return [value for value in values if isinstance(value, str)]


def _numbers(values: Sequence[Any]) -> list[float]:
    return [float(value) for value in values if isinstance(value, int | float)]
