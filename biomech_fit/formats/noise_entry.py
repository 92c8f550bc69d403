"""The entry `detector_noise` of a base model's file: how far off the detector's keypoints are."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from biomech_fit.config.yaml_data import digits, is_number
from biomech_fit.core.errors import InputError
from biomech_fit.core.keypoint_noise import KeypointNoise

LARGEST_PX, LARGEST_FACTOR, LONGEST_S = 1e4, 1e4, 1e3


def noise_content(noise: KeypointNoise) -> dict[str, Any]:
    """What is written of it."""
    return {
        "sigma_px": {name: digits(sigma) for name, sigma in noise.sigma_px.items()},
        "confidence": [digits(x) for x in noise.confidence],
        "factor": [digits(x) for x in noise.factor],
        "correlation_time_s": digits(noise.correlation_time_s),
    }


def read_noise(content: Any, where: str) -> KeypointNoise | None:
    """What was written; None where there is no entry. Raises InputError naming what is malformed."""
    if content is None:
        return None
    if not isinstance(content, dict) or not isinstance(content.get("sigma_px"), dict) or not content["sigma_px"]:
        raise InputError(f"In {where}, detector_noise must be a mapping with sigma_px (keypoint: px), confidence, factor and correlation_time_s.")
    sigma = {str(name): _number(value, f"sigma_px: {name}", LARGEST_PX, where, zero=False) for name, value in content["sigma_px"].items()}
    confidence, factor = (_numbers(content.get(name), name, where) for name in ("confidence", "factor"))
    if len(confidence) != len(factor) or any(b <= a for a, b in pairwise(confidence)):
        raise InputError(f"In {where}, detector_noise needs as many factors as confidences, and these must rise.")
    if min(factor) <= 0:
        raise InputError(f"In {where}, detector_noise.factor must be above 0.")
    return KeypointNoise(sigma, confidence, factor, _number(content.get("correlation_time_s"), "correlation_time_s", LONGEST_S, where))


def _numbers(value: Any, name: str, where: str) -> tuple[float, ...]:
    if not isinstance(value, list) or not value:
        raise InputError(f"In {where}, detector_noise.{name} must be a list of numbers.")
    return tuple(_number(x, name, LARGEST_FACTOR, where) for x in value)


def _number(value: Any, name: str, most: float, where: str, zero: bool = True) -> float:
    if not is_number(value) or not (0 <= value <= most and (zero or value > 0)):
        raise InputError(f"In {where}, detector_noise.{name} is {value!r}; it must be a number {'from' if zero else 'above'} 0 to {most:g}.")
    return float(value)
