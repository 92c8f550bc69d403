"""Colours and sizes that all pictures share. Left is blue, right is red, as in the field."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib import colors
from matplotlib.figure import Figure

from biomech_fit.core.sides import side_of

LEFT, RIGHT, MIDDLE = "#1f5fa8", "#c2352b", "#3b3b3b"
BEFORE, AFTER = "#9a9a9a", "#1b7f4b"
CAMERA_COLOURS = ("#1f5fa8", "#d9822b", "#1b7f4b", "#8e44ad", "#c2352b", "#16a2a2", "#7f6000", "#e377c2")
_SETTINGS: dict[Any, Any] = {
    "font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.labelsize": 9, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": "#e6e6e6", "grid.linewidth": 0.6, "axes.axisbelow": True, "legend.frameon": False, "legend.fontsize": 8,
    "font.family": "DejaVu Sans", "figure.dpi": 110,
}  # fmt: skip


@contextmanager
def styled() -> Iterator[None]:
    """The pictures' settings, for the block only."""
    with matplotlib.rc_context(_SETTINGS):
        yield


def new_figure(width: float, height: float) -> Figure:
    """A figure (inches) that belongs to no window and no global state, drawn by Agg when saved."""
    return Figure(figsize=(width, height), layout="constrained")


def side_colour(*names: str) -> str:
    """Blue where all names are of the left side, red of the right, grey else."""
    sides = {side_of(n) for n in names}
    return LEFT if sides == {"l"} else RIGHT if sides == {"r"} else MIDDLE


def lighter(colour: str, share: float = 0.5) -> tuple[float, float, float]:
    """The colour mixed with white."""
    r, g, b = colors.to_rgb(colour)
    return (r + (1 - r) * share, g + (1 - g) * share, b + (1 - b) * share)
