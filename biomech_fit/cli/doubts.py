"""What is odd about a run as a whole: signs of a calibration that is not this recording's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from biomech_fit.config.fit import RefineConfig
from biomech_fit.core.camera import Camera
from biomech_fit.core.estimates import CalibrationEstimate, SubjectEstimate
from biomech_fit.core.types import FrameResult
from biomech_fit.stream.camera_report import calibration_problem

SIZES = (-0.35, 0.25)
"""Mean scale (additive to 1) of bodies between a child of six years and a giant."""
PROPORTION = 0.25
"""So far from the mean no scale of a person is."""


def doubts(estimate: CalibrationEstimate, subject: SubjectEstimate, results: Sequence[FrameResult], refine: RefineConfig) -> list[str]:
    """Sentences. `results` are one person's."""
    used = _used(estimate.cameras, results)
    said = []
    for c, camera in enumerate(estimate.cameras):
        problem = calibration_problem(estimate, c, refine)
        if problem:
            said.append(f"Camera '{camera.name}': {problem}")
        elif not used[c]:
            said.append(f"Camera '{camera.name}': none of its keypoints was used. Either it did not see the person, or its calibration is another camera's.")
    if len(subject.scales):
        mean, far = float(subject.scales.mean()), float(np.abs(subject.scales - subject.scales.mean()).max())
        sized, proportioned = SIZES[0] < mean < SIZES[1], far <= PROPORTION
        if not (sized and proportioned):
            size = "" if sized else f"{100 * abs(mean):.0f} % {'larger' if mean > 0 else 'smaller'} than the model"
            how = " and ".join(part for part in (size, "" if proportioned else "oddly proportioned") if part)
            said.append(f"The body came out {how}: is the calibration of this rig, in metres, and the keypoint set the detector's?")
    return said


def _used(cameras: Sequence[Camera], results: Sequence[FrameResult]) -> np.ndarray:
    """(C,) whether any keypoint of a camera was used."""
    used = np.zeros(len(cameras), bool)
    for result in results:
        if result.observed_confidence is not None:
            used |= (result.observed_confidence > 0).any(1)
    return used
