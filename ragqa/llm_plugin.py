"""ragqa as a plugin of `llm`: registers what other rooms define, and holds no logic."""

from __future__ import annotations

from typing import Any

import llm


@llm.hookimpl
def register_models(register: Any) -> None:
    """Register the `extractive` model."""
    from ragqa.answer.extractive import Extractive

    register(Extractive())
