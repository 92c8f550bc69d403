"""How far off a detector's keypoints are, whoever is seen, as a base model keeps it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KeypointNoise:
    """A detection of confidence c is off by `sigma_px[name]` times the factor at c along each pixel axis (standard deviation, outliers aside).

    As a fit tells it, sigma_px is that of a detection with confidence 1.
    """

    sigma_px: dict[str, float]
    """By keypoint; those that were never seen are not there."""
    confidence: tuple[float, ...]
    """Rising; at least one. Between them the factor is linear, beyond them constant."""
    factor: tuple[float, ...]
    """At these confidences; never rises."""
    correlation_time_s: float
    """How long an error lasts: its correlation falls to 1/e in this time; 0 = no longer than a frame."""
