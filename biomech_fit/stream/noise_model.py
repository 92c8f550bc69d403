"""The standard deviations of cameras' keypoints, and how long their errors last: as configured, as a base model says, or as learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from biomech_fit.config.fit import NoiseConfig
from biomech_fit.core.keypoint_noise import KeypointNoise

MIN_FACTOR, MAX_FACTOR = 0.25, 6.0
"""Of the configured standard deviation: what is learned stays within."""
KNOTS = 100
"""Of the configured law of confidence."""
TOLD_AT = np.linspace(0.1, 1.0, 10)
"""Confidences at which a detector's law is told, relative to the last one."""


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """Standard deviations of C cameras' K keypoints as factors of the configured one, and how long errors last."""

    overall: float
    by_camera: np.ndarray
    """(C,)"""
    by_keypoint: np.ndarray
    """(K,)"""
    knots: np.ndarray
    """(B,) confidences at which the law is known."""
    by_confidence: np.ndarray
    """(B,)"""
    correlation_time_s: float

    def law(self, confidence: np.ndarray) -> np.ndarray:
        """The factors at confidences of any shape."""
        return np.interp(confidence, self.knots, self.by_confidence)

    def sigma_px(self, confidence: np.ndarray, configured_px: float) -> np.ndarray:
        """(..., C, K) px per axis for confidences (..., C, K); meaningless where the confidence is 0."""
        factor = self.overall * self.by_camera[:, None] * self.by_keypoint * self.law(confidence)
        return configured_px * np.clip(factor, MIN_FACTOR, MAX_FACTOR)

    def of_detector(self, names: Sequence[str], seen: np.ndarray, configured_px: float) -> KeypointNoise:
        """What it says of the detector: the same for all cameras (their geometric mean). `seen` (K,): which keypoints were seen at all."""
        law = self.law(TOLD_AT)
        level = configured_px * self.overall * float(np.exp(np.mean(np.log(self.by_camera)))) * law[-1]
        sigma = {name: float(level * factor) for name, factor, was in zip(names, self.by_keypoint, seen, strict=True) if was}
        return KeypointNoise(sigma, tuple(TOLD_AT.tolist()), tuple((law / law[-1]).tolist()), self.correlation_time_s)


def noise_before(config: NoiseConfig, cameras: int, names: Sequence[str], known: KeypointNoise | None = None) -> NoiseModel:
    """What is thought of C cameras' keypoints before anything is seen: as configured, or as a base model says of the keypoints that it has."""
    each = np.ones(cameras)
    if known is None or not any(name in known.sigma_px for name in names):
        knots = np.linspace(0, 1, KNOTS + 1)
        law = np.maximum(knots, 1 / KNOTS) ** (-0.5 * config.confidence_power)
        return NoiseModel(1.0, each, np.ones(len(names)), knots, law, config.correlation_time_s)
    level = np.exp(np.mean([np.log(known.sigma_px[name]) for name in names if name in known.sigma_px]))
    by_keypoint = np.array([known.sigma_px.get(name, level) for name in names]) / level
    return NoiseModel(
        float(level / config.pixel_sigma_px), each, by_keypoint, np.array(known.confidence), np.array(known.factor), known.correlation_time_s
    )
