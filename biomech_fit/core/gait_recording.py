"""Gait of a whole recording of feet: as it would have been told live, and with the whole recording known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from biomech_fit.core.gait import FeetAt, GaitDetector
from biomech_fit.core.steps import StepParameters, steps_of_recording
from biomech_fit.core.types import GaitEvent

Gait = tuple[list[GaitEvent], list[StepParameters]]
"""Events and steps."""


def causal_gait(detector: GaitDetector, frames: Sequence[FeetAt]) -> Gait:
    """What a listener would have got, in the order in which it would have come; forgets what the detector knew before."""
    detector.reset()
    events = [event for frame in frames for event in detector.update_points(*frame)]
    events += detector.finish()
    return events, detector.steps()


def offline_gait(detector: GaitDetector, frames: Sequence[FeetAt]) -> Gait:
    """The same with all of the recording known, z up: events of the offline pass, and heels over their whole stances. In order of time."""
    events = detector.detect(frames)
    detector.steps()
    if not frames:
        return events, []
    stamps = np.array([frame.stamp_ns for frame in frames])
    heels = np.array([frame.heels if frame.marks is None else frame.marks for frame in frames])
    return events, steps_of_recording(events, stamps, heels, np.array([frame.toes for frame in frames]), belt=detector.settings.moving_floor)
