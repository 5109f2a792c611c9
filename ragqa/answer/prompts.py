"""Prompts: `llm` templates in YAML, shipped or a file of the user's, and what fills their variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template as Placeholders
from typing import TYPE_CHECKING

from ragqa.config import read_yaml_file
from ragqa.errors import UsageError, unknown_name
from ragqa.files import shipped
from ragqa.safety.plain_yaml import read_yaml

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
    if not is_path and name not in shipped_prompts():
        raise unknown_name("prompt", name, shipped_prompts())
    try:
        path = Path(name).expanduser() if is_path else shipped_prompts()[name]
        template = Template(**{"name": path.stem, **read_yaml(read_yaml_file(path))})
        used = _placeholders(template)
    # Without a home there is a RuntimeError for "~".
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"The prompt {name} cannot be read as an llm template: {reason}") from error
    if not used >= needed:
        raise UsageError(f"The prompt {name} must use ${' and $'.join(sorted(needed - used))}.")
    unknown = used - needed - set(template.defaults or {})
    if unknown:
        raise UsageError(f"The prompt {name} uses ${', $'.join(sorted(unknown))}, which nothing fills.")
    return template


def _placeholders(template: Template) -> set[str]:
    """Return the names of what is to be filled in, as $name and ${name}; raises ValueError for a lone $."""
    used: set[str] = set()
    for text in filter(None, (template.prompt, template.system)):
        placeholders = Placeholders(text)
        if not placeholders.is_valid():
            raise ValueError("it has a $ that begins no name; a dollar sign is written $$")
        used.update(placeholders.get_identifiers())
    return used


def render_prompt(template: Template, question: str, context: str, history: str = "") -> Prompt:
    """Return the template with the question, the context and what was said before filled in."""
    return fill_prompt(template, {"context": context, "input": question, "history": history})


def fill_prompt(template: Template, values: Mapping[str, str]) -> Prompt:
    """Return the template with `values` for its variables."""
    text, system = template.evaluate(values.get("input", ""), dict(values))
    return Prompt(system, text or "")
