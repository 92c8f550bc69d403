"""How one setting is declared: default, unit, valid range or choices, and meaning, in the field's metadata."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import MISSING, Field, field, fields, is_dataclass
from typing import Any

from biomech_fit.config.yaml_data import is_number
from biomech_fit.core.errors import InputError


def setting(
    default: Any, doc: str, *, unit: str = "", low: float | None = None, high: float | None = None, choices: tuple[str, ...] = (), restart: bool = False
) -> Any:
    """A dataclass field with its metadata. `low` and `high` are inclusive; `restart` marks what only a new configure transition can change."""
    return field(default=default, metadata={"doc": doc, "unit": unit, "low": low, "high": high, "choices": choices, "restart": restart})


def group(kind: type, doc: str) -> Any:
    """A nested group of settings."""
    return field(default_factory=kind, metadata={"doc": doc})


def default_of(entry: Field) -> Any:
    return entry.default if entry.default is not MISSING else entry.default_factory()  # type: ignore[misc]


def valid_values(entry: Field) -> str:
    """The valid values of a setting in words, for an error or the documentation."""
    meta = entry.metadata
    default = default_of(entry)
    if meta["choices"]:
        return "one of " + ", ".join(choice or '""' for choice in meta["choices"])
    if isinstance(default, bool):
        return "true or false"
    if isinstance(default, str):
        return "a text"
    if isinstance(default, tuple):
        return "a list of texts"
    kind = "a whole number" if isinstance(default, int) else "a number"
    low, high = meta["low"], meta["high"]
    unit = f" {meta['unit']}" if meta["unit"] else ""
    if low is not None and high is not None:
        return f"{kind} from {low:g} to {high:g}{unit}"
    if low is not None:
        return f"{kind} of at least {low:g}{unit}"
    if high is not None:
        return f"{kind} of at most {high:g}{unit}"
    return kind + unit


def checked_value(entry: Field, value: Any, where: str) -> Any:
    """The value in the setting's own type.

    Raises InputError naming the setting (`where`), the value and the valid ones.
    """
    default = default_of(entry)
    bad = InputError(f"{where} is {value!r}; it must be {valid_values(entry)}.")
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise bad
        return value
    if isinstance(default, str):
        if not isinstance(value, str) or (entry.metadata["choices"] and value not in entry.metadata["choices"]):
            raise bad
        return value
    if isinstance(default, tuple):
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise bad
        return tuple(value)
    if not is_number(value):
        raise bad
    if isinstance(default, int):
        if value != int(value):
            raise bad
        value = int(value)
    else:
        value = float(value)
    low, high = entry.metadata["low"], entry.metadata["high"]
    if (low is not None and value < low) or (high is not None and value > high):
        raise bad
    return value


def unknown_name(name: object, valid: Iterable[str], where: str) -> InputError:
    """The error for a name that is not a setting: says the close ones, or all of them."""
    names = list(valid)
    close = difflib.get_close_matches(str(name), names, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(close)}?" if close else f"valid names: {', '.join(names)}."
    return InputError(f"{where} has no setting {str(name)!r}; {hint}")


def is_group(entry: Field) -> bool:
    return entry.default is MISSING and is_dataclass(entry.default_factory)


def leaves(kind: type, prefix: str = "") -> Iterable[tuple[str, Field]]:
    """(dotted name, field) of every setting in a dataclass and its groups, in order."""
    for entry in fields(kind):
        if is_group(entry):
            yield from leaves(entry.default_factory, f"{prefix}{entry.name}.")  # type: ignore[arg-type]
        else:
            yield prefix + entry.name, entry
