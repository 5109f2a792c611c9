"""ragqa as a plugin of `llm`: registers what other rooms define, and holds no logic.

`llm` imports this at every start, whatever it is asked: nothing may be imported here that `llm` has not.
"""

from __future__ import annotations

from typing import Any

import llm


@llm.hookimpl
def register_models(register: Any) -> None:
    """Register the `extractive` model."""
    from ragqa.answer.extractive import Extractive

    register(Extractive())


@llm.hookimpl
def register_commands(cli: Any) -> None:
    """Register `llm rag`, which is `ragqa`."""
    from ragqa.llm_plugin.command import rag

    cli.add_command(rag)


@llm.hookimpl
def register_fragment_loaders(register: Any) -> None:
    """Register `llm -f "ragqa:QUESTION"`."""
    from ragqa.llm_plugin.fragments import passages

    register("ragqa", passages)


@llm.hookimpl
def register_tools(register: Any) -> None:
    """Register the toolbox `Ragqa`, and its two tools by themselves for the user's own corpus."""
    from ragqa.llm_plugin.tools import Ragqa

    register(Ragqa)
    own = Ragqa()
    register(own.search, name="ragqa_search")
    register(own.read, name="ragqa_read")
