"""Numbers exchanged in YAML text: everything else, comments and layout included, stays as it was written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import yaml

Keys = Sequence[str | int]


def with_numbers(text: str, changes: Iterable[tuple[Keys, Sequence[float]]]) -> str | None:
    """The text with new numbers at places given by keys.

    A place is a list of numbers, nested or not, or a mapping with such a list under `data` (an OpenCV matrix). None where a place is not there, has
    another count of numbers, or is written at more than one place (an alias): such a file has to be written anew.
    """
    # OpenCV's header is no YAML directive; a comment of the same length keeps the places. A document's end behind everything begins an empty second one.
    readable = re.sub(r"\n---\s*\Z", "\n", re.sub(r"\A%YAML:1\.0", "#" * 9, text))
    root = yaml.compose(readable, Loader=yaml.SafeLoader)
    spans: dict[tuple[int, int], str] = {}
    for keys, numbers in changes:
        node = root
        for key in keys:
            node = _child(node, key)
        places = _scalars(node)
        if places is None or len(places) != len(numbers):
            return None
        for place, number in zip(places, numbers, strict=True):
            span = place.start_mark.index, place.end_mark.index
            if span in spans:
                return None
            spans[span] = _text(float(number))
    for (start, end), number in sorted(spans.items(), reverse=True):
        text = text[:start] + number + text[end:]
    return text


def _child(node: yaml.Node | None, key: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for name, value in node.value if name.value == str(key)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key]
    return None


def _scalars(node: yaml.Node | None) -> list[yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return _scalars(_child(node, "data"))
    if isinstance(node, yaml.ScalarNode):
        return [node]
    if not isinstance(node, yaml.SequenceNode):
        return None
    parts = [_scalars(part) for part in node.value]
    return None if any(part is None for part in parts) else [scalar for part in parts if part for scalar in part]


def _text(value: float) -> str:
    """YAML 1.1 wants a point in a number with an exponent."""
    text = repr(value)
    return text if "." in text or "e" not in text else text.replace("e", ".0e")
