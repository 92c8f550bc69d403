"""The files that come with the package (`config/`), and safe reading and writing of YAML."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import yaml

from biomech_fit.core.errors import InputError

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
    try:
        if path.stat().st_size > _LARGEST_YAML_BYTES:
            raise InputError(f"The {what} file {path} is larger than {_LARGEST_YAML_BYTES // 1_000_000} MB, which no such file is.")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The {what} file {path} cannot be read: {error.strerror or error}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1})" if where is not None else ""
        raise InputError(f"The {what} file {path} is not valid YAML{line}.") from None
    if not isinstance(content, dict):
        raise InputError(f"The {what} file {path} must hold a YAML mapping of names to values.")
    return content


def write_text(path: Path, text: str) -> None:
    """Write a text file whole: into a temporary file beside it, which then takes its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
