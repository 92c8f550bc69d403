"""The detector's errors, learned while it runs: how large they are per camera, keypoint and confidence, and how long they last.

Everything is read from the residuals of the smoothed frame, which knows what came after it. Medians are used throughout, so that outliers, which the
robust kernel deals with, do not widen the noise of the rest; and a camera whose calibration is off gets a wider scale instead of losing its keypoints
one by one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from functools import partial

import numpy as np

from biomech_fit.config.fit import NoiseConfig
from biomech_fit.stream.between import BetweenFrames
from biomech_fit.stream.noise_model import NoiseModel

MEMORY_FRAMES = 120
LEARN_EVERY, LEARN_SHARE = 10, 0.25
"""Frames between two updates: the first, or as many as are this share of those it is learned from."""
BINS = 8
MEDIAN_LENGTH = {2: 1.17741, 3: 1.53817}
"""Median length of a two- or three-dimensional Gaussian error of standard deviation 1 (Rayleigh, Maxwell)."""
PRIOR_COUNT = {"all": 400, "camera": 400, "keypoint": 200, "confidence": 400}
"""How many detections what was thought before weighs as much as."""
MAX_CORRELATION = 0.95


class DetectorNoise:
    """The noise of C cameras' K keypoints as far as it is known, frame by frame.

    Args:
        config: settings.
        before: what is thought of it before anything is seen.
    """

    def __init__(self, config: NoiseConfig, before: NoiseModel):
        self._config, self._before = config, before
        self.model = before
        self._errors: deque[np.ndarray] = deque(maxlen=MEMORY_FRAMES)
        self._confidence: deque[np.ndarray] = deque(maxlen=MEMORY_FRAMES)
        self._stamps: deque[int] = deque(maxlen=MEMORY_FRAMES)
        self._since = 0
        self._learning: BetweenFrames[NoiseModel | None] | None = None

    def sigma_px(self, confidence: np.ndarray) -> np.ndarray:
        """(C, K) px for confidences (C, K); meaningless where the confidence is 0."""
        return self.model.sigma_px(confidence, self._config.pixel_sigma_px)

    def information(self, confidence: np.ndarray) -> np.ndarray:
        """(C, K) 1/px^2; 0 where the confidence is."""
        return np.where(confidence > 0, 1 / self.sigma_px(confidence) ** 2, 0.0)

    def share(self, step_s: float) -> float:
        """How many independent frames one counts as, when frames are `step_s` apart: (1 - rho) / (1 + rho), rho = exp(-step / correlation time)."""
        if self.model.correlation_time_s <= 0:
            return 1.0
        rho = np.exp(-step_s / self.model.correlation_time_s)
        return float((1 - rho) / (1 + rho))

    def observe(self, stamp_ns: int, error_px: np.ndarray, confidence: np.ndarray) -> None:
        """Residuals (C, K, 2) px of a smoothed frame whose detections had these confidences (C, K), 0 = missing; of 3D points (C, K, 3) in their own unit.

        What is learned from them holds from a set frame on, so that a run does not depend on the machine's speed.
        """
        if not self._config.learn:
            return
        if self._learning is not None and self._since >= LEARN_EVERY // 2:
            self.model, self._learning = self._learning.result() or self.model, None
        self._errors.append(np.where((confidence > 0)[..., None], error_px, np.nan).astype(np.float32))
        self._confidence.append(confidence.astype(np.float32))
        self._stamps.append(stamp_ns)
        self._since += 1
        if self._since >= max(LEARN_EVERY, LEARN_SHARE * len(self._errors)) and len(self._errors) >= 2 * LEARN_EVERY:
            self._since = 0
            self._learning = BetweenFrames(partial(_learned, self._config, self._before, list(self._errors), list(self._confidence), list(self._stamps)))

    def prepare(self) -> None:
        """Begin what is due in the background."""
        if self._learning is not None:
            self._learning.begin()


def _learned(config: NoiseConfig, before: NoiseModel, errors: list[np.ndarray], confidences: list[np.ndarray], stamps: list[int]) -> NoiseModel | None:
    return learned_noise(config, before, np.stack(errors), np.stack(confidences), np.array(stamps))


def learned_noise(config: NoiseConfig, before: NoiseModel, every: np.ndarray, confidence: np.ndarray, stamps: np.ndarray) -> NoiseModel | None:
    """From T frames' residuals (T, C, K, 2 or 3) px, NaN = missing, confidences (T, C, K), and what was thought before. None where there are too few."""
    length, usual = np.sqrt(_squares(every)), MEDIAN_LENGTH[every.shape[-1]]
    seen = np.isfinite(length)
    if seen.sum() < 2 * BINS:
        return None
    flat = length[seen] / np.float32(usual * config.pixel_sigma_px)
    certain = confidence[seen]
    # Confidence first: edges at its quantiles, ratios against the law of before, made monotone.
    edges = np.unique(np.quantile(certain, np.linspace(0, 1, BINS + 1)))
    if len(edges) > 2:
        which = np.clip(np.searchsorted(edges, certain, side="right") - 1, 0, len(edges) - 2)
        counts = np.bincount(which, minlength=len(edges) - 1)
        found = np.array([np.median(flat[which == i]) if counts[i] else np.nan for i in range(len(counts))])
        kept = counts > 0
        knots = np.array([np.median(certain[which == i]) if counts[i] else np.nan for i in range(len(counts))])[kept]
        base = before.law(knots)
        centre = np.median(flat)
        weight = counts[kept] / (counts[kept] + PRIOR_COUNT["confidence"])
        level = np.exp(weight * np.log(np.maximum(found[kept], 1e-3) / centre) + (1 - weight) * np.log(base / np.median(base)))
        law = _falling(level, counts[kept])
    else:
        knots, law = edges[:1], np.ones(1)
    ratio = length / (usual * config.pixel_sigma_px * np.interp(confidence, knots, law)).astype(np.float32)
    thought = before.overall * float(before.law(np.median(certain)))  # the law is 1 there
    overall = _shrunk(float(np.median(ratio[seen])), int(seen.sum()), PRIOR_COUNT["all"], thought)
    ratio = ratio / overall
    by_camera = _groups(np.moveaxis(ratio, 1, 0), PRIOR_COUNT["camera"], before.by_camera)
    by_keypoint = _groups(np.moveaxis(ratio / by_camera[:, None].astype(np.float32), 2, 0), PRIOR_COUNT["keypoint"], before.by_keypoint)
    model = NoiseModel(overall, by_camera, by_keypoint, knots, law, before.correlation_time_s)
    return replace(model, correlation_time_s=_correlation_time_s(model, config, every, confidence, stamps))


def _correlation_time_s(model: NoiseModel, config: NoiseConfig, errors: np.ndarray, confidence: np.ndarray, stamps: np.ndarray) -> float:
    """From one frame to the next, of what is left when each keypoint's mean error in each camera is taken away; that of `model` where nothing tells it."""
    thought_s = model.correlation_time_s
    if len(stamps) < 2:
        return thought_s
    step = np.diff(stamps) * 1e-9
    usual = float(np.median(step))
    pairs = np.abs(step - usual) < 0.3 * usual
    if not pairs.any() or usual <= 0:
        return thought_s
    whitened = errors / model.sigma_px(confidence, config.pixel_sigma_px).astype(np.float32)[..., None]
    good = _squares(whitened) < 3.5**2
    whitened = np.where(good[..., None], whitened, 0.0)
    whitened -= whitened.sum(0) / np.maximum(good.sum(0), 1)[..., None].astype(np.float32)
    both = (good[:-1] & good[1:])[pairs][..., None]
    before, after = whitened[:-1][pairs], whitened[1:][pairs]
    total = float(np.sum(0.5 * (before**2 + after**2) * both))
    if total <= 0:
        return thought_s
    # Taking the mean away from n frames lowers the correlation by about (1 + rho) / ((1 - rho) n).
    rho = float(np.sum(before * after * both)) / total
    n = len(errors)
    rho = float(np.clip(rho + (1 + rho) / max(1 - rho, 0.05) / n, 0.0, MAX_CORRELATION))
    weight = n / (n + 30.0)
    prior = np.exp(-usual / thought_s) if thought_s > 0 else 0.0
    rho = weight * rho + (1 - weight) * prior
    return float(-usual / np.log(rho)) if rho > 1e-3 else 0.0


def _squares(errors: np.ndarray) -> np.ndarray:
    """Squared lengths along the last axis: component by component, which numpy does faster than a sum over so short an axis."""
    return sum(errors[..., i] ** 2 for i in range(errors.shape[-1]))


def _shrunk(ratio: float, count: int, prior: int, before: float) -> float:
    weight = count / (count + prior)
    return float(np.exp(weight * np.log(max(ratio, 1e-3)) + (1 - weight) * np.log(before))) if np.isfinite(ratio) else before


def _groups(ratio: np.ndarray, prior: int, before: np.ndarray) -> np.ndarray:
    """One factor for each row of ratios (G, ...), NaN = missing."""
    seen = np.isfinite(ratio)
    found = [_shrunk(float(np.median(r[s])), int(s.sum()), prior, float(b)) if s.any() else float(b) for r, s, b in zip(ratio, seen, before, strict=True)]
    return np.array(found)


def _falling(level: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The closest sequence that never rises (pool adjacent violators), in the logarithm."""
    blocks: list[list[float]] = []
    for value, w in zip(np.log(level), weight, strict=True):
        blocks.append([float(value), float(w), 1])
        while len(blocks) > 1 and blocks[-1][0] > blocks[-2][0]:
            b, a = blocks.pop(), blocks.pop()
            blocks.append([(a[0] * a[1] + b[0] * b[1]) / (a[1] + b[1]), a[1] + b[1], a[2] + b[2]])
    return np.exp(np.concatenate([np.full(int(n), v) for v, _, n in blocks]))
