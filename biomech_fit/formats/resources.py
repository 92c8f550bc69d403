"""The reading of YAML mappings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from biomech_fit.config.yaml_data import parse_yaml
from biomech_fit.core.errors import InputError
from biomech_fit.formats.safe_read import read_text

_LARGEST_YAML_BYTES = 4_000_000


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """Read a YAML mapping. `what` names the kind of file in messages ("keypoint set"). Raises InputError."""
    content = parse_yaml(read_text(path, _LARGEST_YAML_BYTES), path)
    if not isinstance(content, dict):
        raise InputError(f"The {what} file '{path}' must hold a YAML mapping of names to values.")
    return content
