"""Pictures over time: joint angles, status, latency.

Each function takes a `TrackResult` and gives a matplotlib figure, or None if there is nothing to show.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from biomech_fit.core.sides import side_of
from biomech_fit.core.types import STATUS_SENTENCE, EventType, Side, Status
from biomech_fit.report.result import CONFIDENCE_THRESHOLD, TrackResult
from biomech_fit.report.style import LEFT, MIDDLE, RIGHT, lighter, new_figure
from biomech_fit.report.time_axis import BAND_95, time_label, time_ticks, time_window

PANELS = (
    "pelvis_tilt", "pelvis_list", "pelvis_rotation",
    "hip_flexion", "hip_adduction", "hip_rotation",
    "knee_angle", "ankle_angle", "subtalar_angle",
    "lumbar_extension", "lumbar_bending", "lumbar_rotation",
    "arm_flex", "arm_add", "elbow_flex",
)  # fmt: skip
"""Panels of the joint angle picture, where the body has such coordinates."""
TITLES = {
    "hip_flexion": "hip flexion (+)", "hip_adduction": "hip adduction (+)", "hip_rotation": "hip internal rotation (+)", "knee_angle": "knee flexion (+)",
    "ankle_angle": "ankle dorsiflexion (+)", "subtalar_angle": "subtalar inversion (+)", "arm_flex": "shoulder flexion (+)",
    "arm_add": "shoulder adduction (+)", "elbow_flex": "elbow flexion (+)",
}  # fmt: skip
UNSEEN_STD = 0.05
"""rad (3 degrees)."""
STATUS_COLOUR = {
    Status.OK: "#3a9d5d", Status.INITIALISING: "#c9c9c9", Status.NO_PERSON: "#8c8c8c", Status.LOST: "#c2352b", Status.REINITIALISED: "#d9822b",
    Status.PREDICTED: "#e3c34f", Status.TOO_FEW_CAMERAS: "#8e44ad",
}  # fmt: skip


def joint_angles(result: TrackResult) -> Figure | None:
    """Joint angles over time in degrees: smoothed thick with its 95 % band, causal thin; left blue, right red."""
    panels = _panels(result)
    if not panels or not len(result.stamps_ns):
        return None
    columns = 3
    rows = -(-len(panels) // columns)
    figure = new_figure(12, 2.1 * rows + 0.6)
    axes = figure.subplots(rows, columns, sharex=True, squeeze=False)
    start, end = time_window(result.time_s)
    for axis, (title, members) in zip(axes.flat, panels, strict=False):
        for name, index in members:
            _angle(axis, result, index, {"l": LEFT, "r": RIGHT}.get(side_of(name), MIDDLE))
        axis.set_title(title)
        axis.set_ylabel("degrees")
        axis.set_xlim(start, end)
        low, high = axis.get_ylim()
        if high - low < 10:  # a flat curve shall look flat
            axis.set_ylim((low + high) / 2 - 5, (low + high) / 2 + 5)
        axis.yaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 3, 5, 6, 10]))
        _contacts(axis, result)
        if all(_unseen(result, index) for _, index in members):
            axis.text(0.5, 0.62, "not seen by these keypoints:\nrests at its prior", transform=axis.transAxes, ha="center", color=MIDDLE, fontsize=9)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for column in range(columns):
        visible = [axes[r, column] for r in range(rows) if axes[r, column].get_visible()]
        if visible:
            visible[-1].set_xlabel(time_label(result.time_s))
            visible[-1].xaxis.set_major_locator(time_ticks())
            visible[-1].tick_params(labelbottom=True)
    kind = "fit" if result.offline else "smoothed"
    handles = [
        Patch(color=LEFT, label="left"),
        Patch(color=RIGHT, label="right"),
        axes[0, 0].plot([], [], color=MIDDLE, lw=2.0, label=kind)[0],
        *([] if result.offline else [axes[0, 0].plot([], [], color=MIDDLE, lw=0.7, label="causal")[0]]),
        Patch(color=lighter(MIDDLE, 0.75), label=f"{kind}, 95 % band"),
        axes[0, 0].plot([], [], color=MIDDLE, lw=0.8, ls=":", label="initial contact")[0],
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=6)
    return figure


def _unseen(result: TrackResult, index: int) -> bool:
    """No keypoint tells of this angle: it is unsure, and far more at rest than anything that is measured."""
    angle, std = result.smoothed.position[:, index], result.smoothed.position_std[:, index]
    if not result.coordinate_is_angle[index] or not np.isfinite(angle + std).any():
        return False
    return bool(np.nanmedian(std) > UNSEEN_STD and np.nanstd(angle) < 0.02 * np.nanmedian(std))


def _panels(result: TrackResult) -> list[tuple[str, list[tuple[str, int]]]]:
    names = result.coordinate_names
    chosen = [(TITLES.get(p, p.replace("_", " ")), [(n, i) for i, n in enumerate(names) if n in (p, f"{p}_l", f"{p}_r")]) for p in PANELS]
    chosen = [(title, members) for title, members in chosen if members]
    if len(chosen) >= 3:
        return chosen
    return [(n, [(n, i)]) for i, n in enumerate(names) if result.coordinate_is_angle[i]][: len(PANELS)]


def _angle(axis, result: TrackResult, index: int, colour: str) -> None:
    scale = 180 / np.pi if result.coordinate_is_angle[index] else 1.0
    time = result.time_s
    mean, std = scale * result.smoothed.position[:, index], scale * result.smoothed.position_std[:, index]
    if not _unseen(result, index):
        axis.fill_between(time, mean - BAND_95 * std, mean + BAND_95 * std, color=colour, alpha=0.18, lw=0)
    axis.plot(time, scale * result.causal.position[:, index], color=colour, lw=0.6, alpha=0.8)
    axis.plot(time, mean, color=colour, lw=1.8)
    shown = np.concatenate([mean, scale * result.causal.position[:, index]])
    if np.isfinite(shown).any():  # the band of an unsure start must not squeeze the curves flat
        low, high = np.nanpercentile(shown, [0.2, 99.8])
        pad = 0.12 * (high - low) + 2
        old = axis.get_ylim() if len(axis.lines) > 2 else (np.inf, -np.inf)
        axis.set_ylim(min(old[0], low - pad), max(old[1], high + pad))


def _contacts(axis, result: TrackResult) -> None:
    for event in result.smoothed.events:
        if event.type == EventType.INITIAL_CONTACT:
            axis.axvline((event.stamp_ns - result.zero_ns) * 1e-9, color=LEFT if event.side == Side.LEFT else RIGHT, lw=0.7, ls=":", alpha=0.7)


def status_timeline(result: TrackResult) -> Figure | None:
    """Status of every frame, cameras that see the person, and the reprojection error over time."""
    if not len(result.stamps_ns):
        return None
    time = result.time_s
    figure = new_figure(12, 4.4)
    axes = figure.subplots(3, 1, sharex=True, height_ratios=(0.5, 1, 1))
    present = []
    period = 1 / result.frame_rate_hz if result.frame_rate_hz else 1 / 60
    rows = [("fit", result.smoothed)] if result.offline else [("smoothed", result.smoothed), ("causal", result.causal)]
    for row, (_, trajectory) in enumerate(rows):
        for status in Status:
            frames = trajectory.status == status
            if not frames.any():
                continue
            axes[0].broken_barh(_runs(time, frames, period), (row - 0.4, 0.8), color=STATUS_COLOUR[status], lw=0)
            if status not in present:
                present.append(status)
    axes[0].set_yticks(range(len(rows)), [name for name, _ in rows])
    axes[0].grid(False)
    axes[0].set_title("status")
    handles = [Patch(color=STATUS_COLOUR[s], label=f"{s.name.lower().replace('_', ' ')}: {STATUS_SENTENCE[s]}") for s in present]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(2, len(handles)))
    seen = (result.observed_confidence >= CONFIDENCE_THRESHOLD).sum(2)
    axes[1].step(time, (seen >= 4).sum(1), where="mid", color=MIDDLE, lw=1)
    axes[1].set_ylim(-0.2, len(result.cameras_loaded) + 0.4)
    axes[1].set_title(f"cameras with at least 4 keypoints of the person (confidence ≥ {CONFIDENCE_THRESHOLD})")
    axes[1].set_ylabel("cameras")
    axes[1].set_yticks(range(0, len(result.cameras_loaded) + 1, max(1, len(result.cameras_loaded) // 4)))
    for before, colour, label in ((True, "#9a9a9a", "loaded cameras"), (False, "#1b7f4b", "refined cameras")):
        axes[2].plot(time, _nanmedian(result.errors_px(before).reshape(len(time), -1)), color=colour, lw=1, label=label)
    top = max(line.get_ydata()[np.isfinite(line.get_ydata())].max(initial=1.0) for line in axes[2].lines)
    axes[2].set_ylim(0, 1.3 * top)
    axes[2].set_title("median reprojection error")
    axes[2].set_ylabel("px")
    axes[2].set_xlabel("time (s)")
    axes[2].legend(loc="upper right", ncols=2, frameon=True, framealpha=0.8, edgecolor="none")
    for axis in axes:
        axis.set_xlim(time[0] - period / 2, time[-1] + period / 2)
        axis.xaxis.set_major_locator(time_ticks())
    return figure


def _runs(time: np.ndarray, flags: np.ndarray, period: float) -> list[tuple[float, float]]:
    """(start, width) of the stretches in which `flags` is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return [(float(time[a] - period / 2), float(time[b - 1] - time[a] + period)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _nanmedian(values: np.ndarray) -> np.ndarray:
    out = np.full(len(values), np.nan)
    some = np.isfinite(values).any(1)
    out[some] = np.nanmedian(values[some], axis=1)
    return out


def latency(result: TrackResult) -> Figure | None:
    """Histogram of the time from a closed frame set to the result, against the frame period."""
    values = 1e3 * result.latency_s[np.isfinite(result.latency_s)]
    if not values.size:
        return None
    figure = new_figure(8.5, 3.2)
    axis = figure.subplots()
    p50, p95, p99 = np.percentile(values, [50, 95, 99])
    top = max(min(1.3 * p99, 6 * p50), 1e-3)  # a few stalls shall not squeeze the rest
    axis.hist(np.clip(values, 0, top), bins=np.linspace(0, top, 45), color=lighter(LEFT, 0.35))
    for value, label, style in ((p50, "p50", "-"), (p95, "p95", "--"), (p99, "p99", ":")):
        axis.plot([value, value], [0, 1], color=MIDDLE, ls=style, lw=1.2, transform=axis.get_xaxis_transform(), label=f"{label} {value:.1f} ms")
    if result.frame_rate_hz and 1e3 / result.frame_rate_hz < top:
        axis.axvline(1e3 / result.frame_rate_hz, color=RIGHT, lw=1.2, label=f"frame period {1e3 / result.frame_rate_hz:.1f} ms")
    axis.set_xlim(0, top)
    axis.set_xlabel("latency (ms); frames beyond the axis are in the last bar")
    axis.set_ylabel("frames")
    axis.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    figure.legend(loc="outside right upper")
    return figure
