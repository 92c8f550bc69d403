"""Frame rates that a recording may have."""

from __future__ import annotations

from typing import Any

import numpy as np

from biomech_fit.core.errors import InputError


def checked_rate(value: Any, what: str) -> float:
    """The rate in Hz. Raises InputError, beginning with `what`, for one that no camera has."""
    if not (np.isfinite(value) and 1 <= value <= 2000):
        raise InputError(f"{what} must be between 1 and 2000 Hz, not {value}.")
    return float(value)
