"""What /diagnostics says of each camera: silent, late, lossy, badly stamped, moved away from its calibration, or fine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from biomech_fit.config.fit import RefineConfig
from biomech_fit.core.estimates import CalibrationEstimate, CameraFit
from biomech_fit.core.quaternions import rotation_angle_deg
from biomech_fit.stream.camera_state import CameraHealth

Row = tuple[int, str, str, dict[str, Any]]
"""Level (0 ok, 1 warning, 2 error), name, sentence, values."""

FAR_STD = 2.5
"""A correction of so many prior standard deviations is of a camera that was moved, or calibrated wrongly."""
FAR_RESIDUAL, FAR_PIXELS = 3.0, 15.0
"""So many times the other cameras' reprojection error, and more than so many pixels: this camera does not fit to the others."""
BAD_SHARE = 0.05
"""Share of a camera's packets that may be late or lost before it is worth a warning, or have left and right confused before it is told."""
BEHIND_S = 0.01
"""A camera whose packets are this much later than the others' on average is said to be."""
CLOCK_S, CLOCK_STD = 0.005, 3.0
"""A clock offset is said when it is this large and so many standard deviations from 0."""


@dataclass(frozen=True)
class _Counts:
    received: int = 0
    late: int = 0
    lost: int = 0
    bad_stamps: int = 0
    swapped: int = 0


class CameraReport:
    """Rows on every camera. Shares are of what came since the last rows, so that what is over is not warned of for ever."""

    def __init__(self, refine: RefineConfig) -> None:
        self._refine = refine
        self._before: dict[str, _Counts] = {}

    def rows(self, health: dict[str, CameraHealth], estimate: CalibrationEstimate, swapped: np.ndarray | None = None) -> list[Row]:
        """`health` and the estimate's cameras have the same names. `swapped` (C,): frames in which left and right were exchanged back, since the start."""
        index = {camera.name: c for c, camera in enumerate(estimate.cameras)}
        counts = np.zeros(len(index), int) if swapped is None else swapped
        return [self._row(name, one, estimate, index[name], int(counts[index[name]])) for name, one in health.items()]

    def _row(self, name: str, health: CameraHealth, estimate: CalibrationEstimate, c: int, swapped: int) -> Row:
        now = _Counts(health.received, health.late, health.lost, health.bad_stamps, swapped)
        before = self._before.get(name, _Counts())
        if now.received < before.received:  # the counting has begun anew
            before = _Counts()
        self._before[name] = now
        turned_deg, moved_m = correction(estimate, c)
        problems = [_stream_problem(health, now, before), calibration_problem(estimate, c, self._refine)]
        said = [problem for problem in problems if problem]
        values = {
            "rate_hz": round(health.rate_hz, 2), "received": health.received, "late": health.late, "lost": health.lost, "duplicates": health.duplicates,
            "bad_stamps": health.bad_stamps, "arrives_later_ms": round(-1e3 * health.lead_s, 1), "turned_deg": round(turned_deg, 3),
            "moved_mm": round(1e3 * moved_m, 1), "swaps_undone": swapped,
        }  # fmt: skip
        for key, value in (("reprojection_px", estimate.reprojection_rms_px[c]), ("clock_offset_ms", 1e3 * estimate.time_offset_s[c])):
            if np.isfinite(value):
                values[key] = round(float(value), 2)
        if np.isfinite(estimate.time_offset_std_s[c]):
            values["clock_offset_std_ms"] = round(1e3 * float(estimate.time_offset_std_s[c]), 2)
        if said:
            return 1, f"camera {name}", " ".join(said), values
        return 0, f"camera {name}", " ".join(["The camera sends keypoints.", *_clock(estimate, c), *_swaps(now, before)]), values


def calibration_problem(estimate: CalibrationEstimate, c: int, refine: RefineConfig) -> str:
    """What is wrong with camera c's calibration, as a sentence; empty where nothing is."""
    fit = estimate.fits[c] if estimate.fits else CameraFit.FINE
    if fit == CameraFit.LEFT_OUT:
        return "The camera does not fit to the others and is left out. Was it moved?"
    turned_deg, moved_m = correction(estimate, c)
    how = f"turned by {turned_deg:.1f} deg and moved by {1e3 * moved_m:.0f} mm from its loaded calibration. Calibrate it again when you can."
    if fit == CameraFit.MOVED:
        return f"The camera was moved; where it stands now has been estimated, {how}"
    if fit == CameraFit.PUSHED:
        return f"The camera was pushed, or its clock was set; both have been estimated anew, {how}"
    if turned_deg > FAR_STD * refine.camera_rotation_std_deg or moved_m > FAR_STD * refine.camera_translation_std_m:
        how = f"turned by {turned_deg:.1f} deg, moved by {1e3 * moved_m:.0f} mm"
        return f"The camera is far from its loaded calibration: {how}. This is corrected, but have a look at it."
    error, others = estimate.reprojection_rms_px[c], np.delete(estimate.reprojection_rms_px, c)
    others = others[np.isfinite(others)]
    if len(others) and np.isfinite(error) and error > max(FAR_RESIDUAL * np.median(others), FAR_PIXELS):
        typical = float(np.median(others))
        return f"The camera does not fit to the others: its keypoints are {error:.0f} px from the body, theirs {typical:.0f} px. Was it moved?"
    return ""


def correction(estimate: CalibrationEstimate, c: int) -> tuple[float, float]:
    """By how much camera c is turned (deg) and its centre moved (m) from where it was loaded."""
    camera, loaded = estimate.cameras[c], estimate.loaded[c]
    return rotation_angle_deg(camera.rotation, loaded.rotation), float(np.linalg.norm(camera.centre - loaded.centre))


def _stream_problem(health: CameraHealth, now: _Counts, before: _Counts) -> str:
    came = max(now.received - before.received, 1)
    if now.bad_stamps > before.bad_stamps:
        return f"The camera's stamps are far from the other cameras': {now.bad_stamps - before.bad_stamps} packets were dropped. Are the clocks synchronised?"
    if not health.alive:
        return "The camera has stopped sending keypoints." if health.received else "The camera has sent nothing yet."
    late, lost = now.late - before.late, now.lost - before.lost
    if late > BAD_SHARE * came:
        behind = f"They arrive {-1e3 * health.lead_s:.0f} ms after the other cameras'; " if health.lead_s < -BEHIND_S else ""
        return f"The camera's packets come too late: {late} of {came} were dropped. {behind}stream.deadline_s says how long they are waited for."
    if lost > BAD_SHARE * (came + lost):
        return f"The camera loses frames: {lost} of {came + lost}."
    return ""


def _swaps(now: _Counts, before: _Counts) -> list[str]:
    swapped, came = now.swapped - before.swapped, max(now.received - before.received, 1)
    return [f"Its detector confuses left and right: undone in {swapped} of {came} frames."] if swapped > BAD_SHARE * came else []


def _clock(estimate: CalibrationEstimate, c: int) -> list[str]:
    offset, std = float(estimate.time_offset_s[c]), float(estimate.time_offset_std_s[c])
    if not np.isfinite(std) or abs(offset) < max(CLOCK_S, CLOCK_STD * std):
        return []
    return [f"Its exposures are {1e3 * abs(offset):.0f} ms {'after' if offset > 0 else 'before'} its stamps; this is corrected."]
