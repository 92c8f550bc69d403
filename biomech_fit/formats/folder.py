"""The folder for the results."""

from __future__ import annotations

import os
from pathlib import Path

from biomech_fit.core.errors import InputError


def make_folder(out: Path) -> None:
    """Before the work, so that it is not lost. Raises InputError where the folder cannot be made or written to."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder '{out}' for the results cannot be made: {error.strerror}.") from None
    if not os.access(out, os.W_OK):
        raise InputError(f"The folder '{out}' for the results cannot be written to.")
