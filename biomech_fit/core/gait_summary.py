"""Means, variability and symmetry of step parameters over the last strides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from biomech_fit.core.steps import StepParameters
from biomech_fit.core.types import Side

PARAMETERS = (
    "step_length_m", "stride_length_m", "step_width_m", "step_time_s", "stride_time_s", "stance_time_s", "swing_time_s", "single_support_time_s",
    "double_support_time_s", "cadence_steps_per_min", "speed_m_s", "walk_ratio_m_min",
)  # fmt: skip
"""Fields of `StepParameters` that are summarised."""


@dataclass(frozen=True)
class SummarySettings:
    """Which steps count."""

    skip_steps: int = 0
    """Steps left out at the beginning of each walk (instrumented walkways leave out two)."""
    strides: int = 20
    """The last so many steps of each foot count."""
    turn_deg: float = 20.0
    """A step whose foot turned by more than this over the stride belongs to a turn and does not count."""


@dataclass(frozen=True, eq=False)
class GaitSummary:
    """P parameters in the order of `PARAMETERS`; row 0 = both feet, 1 = left, 2 = right. NaN where there are too few steps."""

    mean: np.ndarray
    """(3, P) For both feet the mean of the two feet's means, so that a side with more steps does not count more."""
    sd: np.ndarray
    """(3, P) sample standard deviations. For both feet the root of the mean of the two variances: variability without asymmetry (Galna et al. 2013,
    Gait & Posture 37:580)."""
    symmetry: np.ndarray
    """(P,) (left - right) / mean of both: 0 = symmetric, positive = greater on the left (Robinson et al. 1987)."""
    steps: tuple[int, int]
    """Left and right steps that count."""
    skipped: int
    """Steps left out at the beginnings of walks."""
    turning: int
    """Steps left out because they belong to turns."""

    @property
    def cv(self) -> np.ndarray:
        """(3, P) coefficients of variation: standard deviation over the size of the mean."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.mean != 0, self.sd / np.abs(self.mean), np.nan)


def summarise_steps(steps: Iterable[StepParameters], settings: SummarySettings, everything: bool = False) -> GaitSummary:
    """Summary of steps in order of time: of the last `settings.strides` of each foot, or with `everything` of all."""
    late, skipped, turning = [], 0, 0
    for step in steps:
        if step.walk_index < settings.skip_steps:
            skipped += 1
        elif abs(step.turn_rad) > np.radians(settings.turn_deg):
            turning += 1
        else:
            late.append(step)
    sides = [[s for s in late if s.side == side] for side in (Side.LEFT, Side.RIGHT)]
    if not everything:
        sides = [of_side[-settings.strides :] for of_side in sides]
    means, sds = (np.stack(rows) for rows in zip(*map(_mean_and_sd, sides), strict=True))
    both_mean, both_sd = _pooled(means), np.sqrt(_pooled(sds**2))
    with np.errstate(divide="ignore", invalid="ignore"):
        symmetry = (means[0] - means[1]) / (0.5 * (means[0] + means[1]))
    return GaitSummary(
        mean=np.vstack([both_mean, means]),
        sd=np.vstack([both_sd, sds]),
        symmetry=np.where(np.isfinite(symmetry), symmetry, np.nan),
        steps=(len(sides[0]), len(sides[1])),
        skipped=skipped,
        turning=turning,
    )


def _mean_and_sd(steps: Sequence[StepParameters]) -> tuple[np.ndarray, np.ndarray]:
    """(P,) each, of the values that are known; NaN where there are none, and for the deviation where there is only one."""
    values = np.array([[getattr(s, name) for name in PARAMETERS] for s in steps], float).reshape(-1, len(PARAMETERS))
    known = np.isfinite(values)
    count = known.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(known, values, 0.0).sum(0) / count
        square = np.where(known, values - mean, 0.0) ** 2
        return mean, np.sqrt(np.where(count > 1, square.sum(0) / (count - 1), np.nan))


def _pooled(of_sides: np.ndarray) -> np.ndarray:
    """(P,) mean of the rows (2, P) that are known; NaN where none is."""
    known = np.isfinite(of_sides)
    return np.where(known.any(0), np.where(known, of_sides, 0.0).sum(0) / np.maximum(known.sum(0), 1), np.nan)
