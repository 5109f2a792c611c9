"""Prompts: `llm` templates in YAML, shipped or a file of the user's, and what fills their variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from ragqa.errors import UsageError, unknown_name
from ragqa.files import shipped

if TYPE_CHECKING:
    from llm import Template

# What a prompt that answers a question takes. $history, what was asked and answered before, is one of its
# defaults, empty: a prompt without it is asked every question as if it were the first.
NEEDED = frozenset({"context", "input"})


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is sent."""

    system: str | None
    text: str


def shipped_prompts() -> dict[str, Path]:
    """Return the prompts that come with ragqa, by name."""
    return {path.stem: path for path in sorted(shipped("prompts").glob("*.yaml"))}


def load_prompt(name: str, needed: frozenset[str] = NEEDED) -> Template:
    """Return the template `name`, a shipped one or a path, that takes the variables `needed`.

    Raises UsageError when it is not there, is no template, or lacks or invents a variable.
    """
    from llm import Template

    is_path = name.endswith((".yaml", ".yml")) or "/" in name
    path = Path(name).expanduser() if is_path else shipped_prompts().get(name)
    if path is None:
        raise unknown_name("prompt", name, shipped_prompts())
    try:
        data = yaml.safe_load(path.read_text("utf-8"))
        template = Template(**{"name": path.stem, **data})
    except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"The prompt {name} cannot be read as an llm template: {reason}") from error
    used = template.vars()
    if not used >= needed:
        raise UsageError(f"The prompt {name} must use ${' and $'.join(sorted(needed - used))}.")
    unknown = used - needed - set(template.defaults or {})
    if unknown:
        raise UsageError(f"The prompt {name} uses ${', $'.join(sorted(unknown))}, which nothing fills.")
    return template


def render_prompt(template: Template, question: str, context: str, history: str = "") -> Prompt:
    """Return the template with the question, the context and what was said before filled in."""
    return fill_prompt(template, {"context": context, "input": question, "history": history})


def fill_prompt(template: Template, values: Mapping[str, str]) -> Prompt:
    """Return the template with `values` for its variables."""
    text, system = template.evaluate(values.get("input", ""), dict(values))
    return Prompt(system, text or "")
