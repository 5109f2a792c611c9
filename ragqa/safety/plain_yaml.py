"""YAML that others wrote, as plain values: safe tags alone, bounded in length, depth and by its aliases."""

from __future__ import annotations

from typing import Any

import yaml

MAX_CHARACTERS = 100_000
# Each alias counts as what it stands for, so that a few lines cannot stand for gigabytes.
MAX_VALUES = 20_000
MAX_DEPTH = 50
MAX_DIGITS = 400


class PlainYamlError(ValueError):
    """Text that is no YAML of this kind; the message is the reason."""


class _Loader(yaml.SafeLoader):
    """The safe loader, which stops where it goes too deep: its time grows with the square of the depth."""

    def fetch_flow_collection_start(self, token_class: type[yaml.Token]) -> None:
        if self.flow_level >= MAX_DEPTH:
            raise PlainYamlError("it is nested too deeply")
        super().fetch_flow_collection_start(token_class)

    def add_indent(self, column: int) -> bool:
        if len(self.indents) > MAX_DEPTH:
            raise PlainYamlError("it is nested too deeply")
        return super().add_indent(column)


def read_yaml(text: str) -> Any:
    """Return what the YAML in `text` says; raises PlainYamlError for whatever may be wrong with it."""
    if len(text) > MAX_CHARACTERS:
        raise PlainYamlError(f"it has more than {MAX_CHARACTERS:,} characters")
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _measure(node, 0, {})
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except PlainYamlError:
        raise
    except RecursionError as error:
        raise PlainYamlError("it is nested too deeply") from error
    # PyYAML gives its own errors for bad syntax, and any for a bad value: KeyError for "!!bool maybe".
    except Exception as error:
        raise PlainYamlError(" ".join(str(error).split()) or type(error).__name__) from error


def _measure(node: yaml.Node, depth: int, measured: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Return how many values a node stands for and how deep they are nested; raises PlainYamlError."""
    if id(node) in measured:
        values, height = measured[id(node)]
    else:
        if depth > MAX_DEPTH:
            raise PlainYamlError("it is nested too deeply, or in itself")
        if isinstance(node, yaml.ScalarNode):
            if node.tag.endswith(":binary") or _half_character(node.value):
                raise PlainYamlError("it has what is no text")
            if len(node.value) > MAX_DIGITS and node.tag.endswith((":int", ":float")):
                raise PlainYamlError(f"it has a number of more than {MAX_DIGITS} digits")
            inner: list[yaml.Node] = []
        elif isinstance(node, yaml.MappingNode):
            inner = [part for pair in node.value for part in pair]
        else:
            inner = node.value
        sizes = [_measure(part, depth + 1, measured) for part in inner]
        values = 1 + sum(size for size, _ in sizes)
        height = 1 + max((high for _, high in sizes), default=0)
        measured[id(node)] = values, height
    if depth + height > MAX_DEPTH + 1:
        raise PlainYamlError("it is nested too deeply, or in itself")
    if values > MAX_VALUES:
        raise PlainYamlError(f"it stands for more than {MAX_VALUES:,} values")
    return values, height


def _half_character(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)
