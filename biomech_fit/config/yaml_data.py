"""YAML as data: plain values only, and no more of them than the text shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeGuard

import yaml

from biomech_fit.core.errors import InputError

LARGEST = 1e300
"""A whole number beyond it is none that a float can be."""
MOST_VALUES = 1_000_000
"""Values that a document may stand for: a few nested aliases can stand for billions, which take for ever as soon as anything walks through them."""


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether it is a finite number that a float can be; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST


def digits(value: float) -> float:
    """With the four digits that are worth writing."""
    return float(f"{value:.4g}")


def parse_yaml(text: str, path: str | Path, loader: type = yaml.SafeLoader) -> Any:
    """YAML text as plain values (OpenCV's ``%YAML:1.0`` header is understood, and the ``---`` with which `ros2 topic echo` ends a message); `InputError` naming
    the file and the line."""
    text = re.sub(r"\n---\s*\Z", "\n", re.sub(r"\A%YAML:1\.0[^\n]*", "", text))
    try:
        content = yaml.load(text, Loader=loader)
        count = _count(content, {})
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise InputError(f"'{path}' is not valid YAML{where}: {getattr(error, 'problem', None) or error}.") from None
    except (RecursionError, ValueError) as error:
        raise InputError(f"'{path}' is not valid YAML: {error}.") from None
    if count > MOST_VALUES:
        raise InputError(f"'{path}' is not read: its aliases stand for more than {MOST_VALUES} values.")
    return content


def _count(value: Any, known: dict[int, int]) -> int:
    """How many values it stands for; one that contains itself stands for more than can be."""
    if not isinstance(value, dict | list | tuple | set):
        return 1
    if id(value) not in known:
        known[id(value)] = MOST_VALUES + 1
        known[id(value)] = 1 + sum(_count(inner, known) for inner in (value.values() if isinstance(value, dict) else value))
    return known[id(value)]
