"""Settings from YAML and back, checked by name, type and range; and their description for the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml

from biomech_fit.config.fit import FitConfig
from biomech_fit.config.setting import checked_value, default_of, is_group, leaves, unknown_name, valid_values
from biomech_fit.config.yaml_data import parse_yaml
from biomech_fit.core.errors import InputError

MAX_FILE_BYTES = 1_000_000
ROS_WRAPPER_KEY = "ros__parameters"

C = TypeVar("C")


def load_config(path: str | Path | None = None, *, base: FitConfig | None = None) -> FitConfig:
    """Settings from a YAML file over the defaults (or `base`); None gives the defaults.

    A ROS parameter file (``<node>: ros__parameters: {...}``) is read as well; entries of the node that are no fit settings are not accepted.
    Raises InputError that names the file and the entry that is unknown or out of range.
    """
    config = base or FitConfig()
    if path is None:
        return config
    path = Path(path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{path} has {path.stat().st_size} bytes; a configuration has at most {MAX_FILE_BYTES}.")
        content = parse_yaml(path.read_text(encoding="utf-8"), path)
    except OSError as error:
        raise InputError(f"The configuration {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InputError(f"The configuration {path} is not a text file.") from None
    if content is None:
        return config
    content = _without_ros_wrapper(content)
    try:
        return from_mapping(content, config)
    except InputError as error:
        raise InputError(f"In {path}: {error}") from None


def _without_ros_wrapper(content: Any) -> Any:
    if isinstance(content, Mapping) and len(content) == 1:
        (inner,) = content.values()
        if isinstance(inner, Mapping) and set(inner) == {ROS_WRAPPER_KEY}:
            return inner[ROS_WRAPPER_KEY]
    return content


def from_mapping(content: Any, base: C, prefix: str = "") -> C:
    """`base` with the entries of a (nested, or dotted-name) mapping replaced.

    Raises InputError naming the entry and its valid values; unknown names are answered with the close ones.
    """
    where = prefix.rstrip(".") or "The configuration"
    if not isinstance(content, Mapping):
        raise InputError(f"{where} must be a mapping of names to values, not {type(content).__name__}.")
    entries = {entry.name: entry for entry in fields(base)}  # type: ignore[arg-type]
    changed: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(name, str) and "." in name and name.split(".", 1)[0] in entries:
            name, rest = name.split(".", 1)
            value = {rest: value}
        entry = entries.get(name)
        if entry is None:
            raise unknown_name(name, entries, where)
        if is_group(entry):
            changed[name] = from_mapping(value, changed.get(name, getattr(base, name)), f"{prefix}{name}.")
        elif isinstance(value, Mapping):
            raise InputError(f"{prefix}{name} is a mapping; it must be {valid_values(entry)}.")
        else:
            changed[name] = checked_value(entry, value, prefix + name)
    return replace(base, **changed)  # type: ignore[type-var]


def validate(config: Any, prefix: str = "") -> None:
    """Checks every setting of a configuration made in Python. Raises InputError."""
    for entry in fields(config):
        value = getattr(config, entry.name)
        if is_group(entry):
            validate(value, f"{prefix}{entry.name}.")
        else:
            checked_value(entry, value, prefix + entry.name)


def to_yaml(config: Any) -> str:
    """The settings as YAML with a comment on each; `load_config` reads it back."""
    return "\n".join(_yaml_lines(config, 0)) + "\n"


def _yaml_lines(config: Any, depth: int) -> list[str]:
    pad = "  " * depth
    lines = []
    for entry in fields(config):
        value = getattr(config, entry.name)
        if is_group(entry):
            lines += ["", f"{pad}# {entry.metadata['doc']}", f"{pad}{entry.name}:", *_yaml_lines(value, depth + 1)]
        else:
            lines += [f"{pad}# {entry.metadata['doc']} ({valid_values(entry)})", f"{pad}{entry.name}: {_yaml_scalar(value)}"]
    return lines


def _yaml_scalar(value: Any) -> str:
    if isinstance(value, float):
        # YAML 1.1 reads 1e-4 as a text: always write a decimal point.
        text = repr(value)
        return text if "." in text or "e" not in text else text.replace("e", ".0e")
    return yaml.safe_dump(value).removesuffix("...\n").strip()


@dataclass(frozen=True)
class Row:
    """One setting in the documentation."""

    name: str
    type: str
    default: str
    valid: str
    unit: str
    doc: str
    restart: bool


def describe(kind: type = FitConfig) -> list[Row]:
    """All settings of a configuration class, in order."""
    rows = []
    for name, entry in leaves(kind):
        default = default_of(entry)
        rows.append(
            Row(
                name,
                type(default).__name__,
                _yaml_scalar(default),
                valid_values(entry),
                entry.metadata["unit"],
                entry.metadata["doc"],
                entry.metadata["restart"],
            )
        )
    return rows
