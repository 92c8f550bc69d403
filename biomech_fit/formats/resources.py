"""The files that come with the package (`config/`), and the reading of YAML mappings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from biomech_fit.config.yaml_data import parse_yaml
from biomech_fit.core.errors import InputError
from biomech_fit.formats.safe_read import read_text

_LARGEST_YAML_BYTES = 4_000_000


def config_directory() -> Path:
    """The package's `config` folder: beside the package in a source tree, in `share/biomech_fit` of the prefix it is installed in.

    Raises InputError when the installation lacks it.
    """
    for parent in Path(__file__).resolve().parents[1:]:
        for candidate in (parent / "config", parent / "share" / "biomech_fit" / "config"):
            if (candidate / "keypoint_sets").is_dir():
                return candidate
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        candidate = Path(prefix) / "share" / "biomech_fit" / "config"
        if prefix and (candidate / "keypoint_sets").is_dir():
            return candidate
    raise InputError("The biomech_fit installation is incomplete: its config folder (share/biomech_fit/config) was not found.")


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """Read a YAML mapping. `what` names the kind of file in messages ("keypoint set"). Raises InputError."""
    content = parse_yaml(read_text(path, _LARGEST_YAML_BYTES), path)
    if not isinstance(content, dict):
        raise InputError(f"The {what} file '{path}' must hold a YAML mapping of names to values.")
    return content
