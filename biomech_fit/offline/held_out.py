"""Whether the cameras' corrections are to be kept.

They are only moved from where they were loaded if that predicts better what the fit has not seen: detections that were left out of both fits (every seventh
one) must be nearer to the body with the corrections than without them, by more than chance makes of corrections that are none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from biomech_fit.config.fit import FitConfig
from biomech_fit.core.result import Readout
from biomech_fit.core.robust import KERNELS
from biomech_fit.offline.rig import Rig
from biomech_fit.offline.solve import OfflineSolve
from biomech_fit.offline.trial import Trial

HELD_OUT_EVERY = 7
"""One of so many detections judges the cameras' corrections."""
CLEARLY = 3.0
"""Better by so many standard errors of the difference is no chance. (Errors of one moment are not quite independent, so that these are small.)"""
LENS_SIGMAS = 4.0
"""Corrections of lenses are believed where at least one is larger than this many of its standard deviations."""
ROUGH = 3.0
"""The two fits that are compared need not be as exact as the last one, by this factor."""
UNSEEN_PX = 1e3
"""The error of a detection where the camera cannot see the body: behind it, or beyond its lens."""


@dataclass(frozen=True, eq=False)
class LensTest:
    """How the lenses' corrections, together with the poses', fare in the same test."""

    cost: float
    px: float
    standard_error: float
    """Of the difference of the mean costs with and without the lenses' corrections, detection by detection."""
    sigmas: float
    """The largest correction of a lens state in its own standard deviations."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """How well detections that were left out are predicted, by the loaded cameras and by corrected ones."""

    loaded_cost: float
    """Mean robust cost."""
    refined_cost: float
    loaded_px: float
    """Median distance."""
    refined_px: float
    standard_error: float
    """Of the difference of the mean costs, detection by detection."""
    lenses: LensTest | None = None
    """None where the lenses are not to be corrected."""

    @property
    def lenses_accepted(self) -> bool:
        """Whether the lenses' corrections are to be kept: better than the loaded calibration, no worse than corrected poses alone, and told by the data.

        A wrong focal length and a camera that is moved along its axis look much alike from within a walkway, so that prediction alone seldom tells them apart.
        """
        test = self.lenses
        return test is not None and test.cost < self.loaded_cost and test.cost < self.refined_cost + test.standard_error and test.sigmas > LENS_SIGMAS

    @property
    def accepted(self) -> bool:
        """Whether any corrections are to be kept: those that clearly predict better."""
        return self.refined_cost < self.loaded_cost - CLEARLY * self.standard_error or self.lenses_accepted


def judge_cameras(solve: OfflineSolve, config: FitConfig, say: Callable[[str], None]) -> tuple[HeldOut, dict[tuple[int, int], np.ndarray]]:
    """Fits that do not see every seventh detection, with the cameras as loaded, with corrected poses, and on request with corrected lenses, and how well they
    predict these; and where the best one predicts them, (T, C, K, 2) px by rig and trial."""
    whole = [rig.trials for rig in solve.rigs]
    masks = [[left_out(trial) for trial in trials] for trials in whole]
    solve.observe([[trial.without(mask) for trial, mask in zip(trials, own, strict=True)] for trials, own in zip(whole, masks, strict=True)])
    tolerance, found = ROUGH * config.fit.tolerance_rad, []
    freedoms = [(False, False), (True, False)] + ([(True, True)] if config.refine.intrinsics != "none" else [])
    for poses, lenses in freedoms:
        solve.free_cameras(poses, lenses)
        solve.solve(config.fit.iterations, tolerance)
        readouts = list(solve.uncertainty())
        if poses:
            solve.learn_spread()
            solve.solve(config.fit.iterations, tolerance)
            readouts = list(solve.uncertainty())
        found.append((*_prediction(solve.rigs, whole, masks, readouts, config), {(r, t): readout.uv for r, t, readout in readouts}))
    solve.observe(whole)
    (loaded, loaded_px, by_loaded), (refined, refined_px, by_refined), *more = found
    test = None
    if more:
        ((lens, lens_px, by_lens),) = more
        test = LensTest(lens.mean(), lens_px, _standard_error(lens - refined), solve.lens_sigmas())
    held_out = HeldOut(loaded.mean(), refined.mean(), loaded_px, refined_px, _standard_error(refined - loaded), test)
    verdict = "accepted" if held_out.accepted else "not accepted"
    say(f"Cameras' corrections {verdict}: detections left out are {loaded_px:.2f} px from the body without and {refined_px:.2f} px with them (median).")
    if test is not None:
        verdict = "accepted" if held_out.lenses_accepted else "not accepted"
        say(f"Lenses' corrections {verdict}: {test.px:.2f} px with them, too; the largest one is {test.sigmas:.1f} of its standard deviations.")
        if held_out.lenses_accepted:
            return held_out, by_lens
    return held_out, by_refined if held_out.accepted else by_loaded


def _standard_error(differences: np.ndarray) -> float:
    """Of their mean."""
    return float(np.std(differences) / np.sqrt(len(differences)))


def left_out(trial: Trial) -> np.ndarray:
    """(T, C, K) True for detections that judge."""
    t, c, k = np.indices(trial.confidence.shape)
    return (t + 3 * c + 5 * k) % HELD_OUT_EVERY == 0


def _prediction(
    rigs: Sequence[Rig],
    whole: Sequence[Sequence[Trial]],
    masks: Sequence[Sequence[np.ndarray]],
    readouts: Sequence[tuple[int, int, Readout]],
    config: FitConfig,
) -> tuple[np.ndarray, float]:
    """Robust costs (D,) and median distance (px) of detections that were left out."""
    kernel, costs, distances = KERNELS[config.noise.robust_kernel], [], []
    for r, t, readout in readouts:
        trial, mask = whole[r][t], masks[r][t] & (whole[r][t].confidence > 0)
        # What was seen where the camera cannot see the body is as wrong as can be.
        squared = np.nan_to_num(np.sum((trial.xy - readout.uv)[mask] ** 2, -1), nan=UNSEEN_PX**2)
        information = trial.information(rigs[r].noise, config.noise.pixel_sigma_px)[mask]
        costs.append(np.asarray(kernel(squared * information, config.noise.robust_scale)[0]))
        distances.append(np.sqrt(squared))
    return np.concatenate(costs), float(np.median(np.concatenate(distances)))
