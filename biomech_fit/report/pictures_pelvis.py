"""The pelvis over time: where it is, and how well that is known."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from biomech_fit.report.result import TrackResult
from biomech_fit.report.style import LEFT, MIDDLE, RIGHT, lighter, new_figure
from biomech_fit.report.time_axis import BAND_95, time_label, time_ticks, time_window

COORDINATES = (
    ("pelvis_tx", "forward (OpenSim x)"), ("pelvis_ty", "up (OpenSim y)"), ("pelvis_tz", "right (OpenSim z)"),
    ("pelvis_tilt", "tilt"), ("pelvis_list", "list"), ("pelvis_rotation", "rotation"),
)  # fmt: skip
SMOOTHED, CAUSAL = LEFT, RIGHT


def pelvis(result: TrackResult) -> Figure | None:
    """For each of the six coordinates the smoothed curve, and below it the causal one's difference from it with the 95 % bands of both round zero.

    On the scale of a walk the bands themselves would be thinner than the line. None where the body has none of them.
    """
    names = result.coordinate_names
    if all(name not in names for name, _ in COORDINATES) or not len(result.stamps_ns):
        return None
    figure = new_figure(12, 8.6)
    axes = figure.subplots(4, 3, sharex=True, height_ratios=(1, 1, 1, 1))
    start, end = time_window(result.time_s)
    for i, (name, title) in enumerate(COORDINATES):
        above, below = axes[2 * (i // 3), i % 3], axes[2 * (i // 3) + 1, i % 3]
        if name not in names:
            above.set_visible(False)
            below.set_visible(False)
            continue
        index = names.index(name)
        scale, unit, small = (180 / np.pi, "degrees", "degrees") if result.coordinate_is_angle[index] else (1.0, "m", "mm")
        mean, std = scale * result.smoothed.position[:, index], scale * result.smoothed.position_std[:, index]
        above.fill_between(result.time_s, mean - BAND_95 * std, mean + BAND_95 * std, color=SMOOTHED, alpha=0.25, lw=0)
        above.plot(result.time_s, mean, color=SMOOTHED, lw=1.5)
        above.set_title(title)
        above.set_ylabel(unit)
        fine = 1e3 if small == "mm" else 1.0
        bands = [(SMOOTHED, fine * BAND_95 * std)]
        if not result.offline:
            bands.insert(0, (CAUSAL, fine * scale * BAND_95 * result.causal.position_std[:, index]))
        for colour, half in bands:
            below.fill_between(result.time_s, -half, half, color=lighter(colour, 0.65), lw=0)
        difference = fine * (scale * result.causal.position[:, index] - mean)
        if not result.offline:
            below.plot(result.time_s, difference, color=MIDDLE, lw=0.8)
        shown = np.concatenate([bands[0][1], np.abs(difference)])
        if np.isfinite(shown).any():  # an unsure start must not squeeze the rest
            top = 1.3 * float(np.nanpercentile(shown, 98))
            below.set_ylim(-top, top)
        below.set_ylabel(f"{'95 % band' if result.offline else 'difference'} ({small})")
    for axis in axes.flat:
        axis.margins(y=0.1)
        axis.set_xlim(start, end)
        axis.xaxis.set_major_locator(time_ticks())
    for axis in axes[-1]:
        axis.set_xlabel(time_label(result.time_s))
    kind = "fit" if result.offline else "smoothed"
    handles = [Line2D([], [], color=SMOOTHED, lw=1.5, label=kind), Patch(color=lighter(SMOOTHED, 0.65), label=f"95 % band, {kind}")]
    if not result.offline:
        handles.insert(1, Line2D([], [], color=MIDDLE, lw=0.8, label="causal minus smoothed"))
        handles.append(Patch(color=lighter(CAUSAL, 0.65), label="95 % band, causal"))
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return figure
