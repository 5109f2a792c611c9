"""The word pieces that all embedded models share: BERT's, in lower case, 30,522 of them.

Nothing here imports torch: cutting documents needs the tokenizer and nothing else.
"""

from __future__ import annotations

import string
from functools import cache
from typing import TYPE_CHECKING

from ragqa.encoders.embedded.files import weights_folder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# What every model reads at most, special tokens included.
MAX_TOKENS = 512
# [MASK], and the two places of the vocabulary that are free for markers of a model's own.
MASK, UNUSED_0, UNUSED_1 = 103, 1, 2


@cache
def tokenizer() -> Tokenizer:
    """Return the tokenizer, neither truncating nor padding."""
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_file(str(weights_folder() / "all-MiniLM-L6-v2" / "tokenizer.json"))
    loaded.no_truncation()
    loaded.no_padding()
    return loaded


def count_tokens(text: str) -> int:
    """Return the number of word pieces in `text`, special tokens not counted."""
    return len(tokenizer().encode(text, add_special_tokens=False).ids)


@cache
def punctuation() -> list[int]:
    """Return the word pieces that are one mark of punctuation: they have no vector in a document."""
    ids = (tokenizer().token_to_id(char) for char in string.punctuation)
    return [number for number in ids if number is not None]
