"""How far off a detector's keypoints are on everybody, from many people's fits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from biomech_fit.core.keypoint_noise import KeypointNoise


def learn_noise(people: Sequence[KeypointNoise]) -> tuple[KeypointNoise, dict[str, float]]:
    """The geometric mean over those who show a keypoint, and how much people differ in it (standard deviation of the logarithm of sigma; 0 of one person).

    All must tell the law of confidence at the same confidences. How surely one fit tells a keypoint's noise is much better than people differ: each counts
    alike.
    """
    first = people[0]
    if any(person.confidence != first.confidence for person in people):
        raise ValueError("the people's laws of confidence are told at different confidences")
    names = list(dict.fromkeys(name for person in people for name in person.sigma_px))
    logs = {name: np.log([person.sigma_px[name] for person in people if name in person.sigma_px]) for name in names}
    factor = np.exp(np.mean([np.log(person.factor) for person in people], axis=0))
    time_s = float(np.median([person.correlation_time_s for person in people]))
    sigma = {name: float(np.exp(log.mean())) for name, log in logs.items()}
    spread = {name: float(log.std(ddof=1)) if len(log) > 1 else 0.0 for name, log in logs.items()}
    return KeypointNoise(sigma, first.confidence, tuple(factor.tolist()), time_s), spread
