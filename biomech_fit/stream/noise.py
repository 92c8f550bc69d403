"""The detector's errors, learned while it runs: how large they are per camera, keypoint and confidence, and how long they last.

Everything is read from the residuals of the smoothed frame, which knows what came after it. Medians are used throughout, so that outliers, which the
robust kernel deals with, do not widen the noise of the rest; and a camera whose calibration is off gets a wider scale instead of losing its keypoints
one by one.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from biomech_fit.config.fit import NoiseConfig

MEMORY_FRAMES = 120
LEARN_EVERY = 10
"""Frames between two updates."""
BINS = 8
RAYLEIGH_MEDIAN = 1.17741
"""Median length of a two-dimensional Gaussian error of standard deviation 1."""
PRIOR_COUNT = {"all": 400, "camera": 400, "keypoint": 200, "confidence": 400}
"""How many detections the starting values weigh as much as."""
MIN_FACTOR, MAX_FACTOR = 0.25, 6.0
"""Of the configured standard deviation: what is learned stays within."""
MAX_CORRELATION = 0.95


class DetectorNoise:
    """Standard deviations (px per axis) of C cameras' K keypoints, and the correlation time of their errors."""

    def __init__(self, config: NoiseConfig, cameras: int, keypoints: int):
        self._config, self._shape = config, (cameras, keypoints)
        self.forget()

    def forget(self) -> None:
        """Back to the configured values."""
        cameras, keypoints = self._shape
        self.overall = 1.0
        self.by_camera, self.by_keypoint = np.ones(cameras), np.ones(keypoints)
        self._edges = np.linspace(0, 1, BINS + 1)
        self._knots = 0.5 * (self._edges[1:] + self._edges[:-1])
        self.by_confidence = self._configured(self._knots)
        self.correlation_time_s = self._config.correlation_time_s
        self._errors: deque[np.ndarray] = deque(maxlen=MEMORY_FRAMES)
        self._confidence: deque[np.ndarray] = deque(maxlen=MEMORY_FRAMES)
        self._stamps: deque[int] = deque(maxlen=MEMORY_FRAMES)
        self._since = 0

    def _configured(self, confidence: np.ndarray) -> np.ndarray:
        return np.maximum(confidence, 1e-3) ** (-0.5 * self._config.confidence_power)

    def sigma_px(self, confidence: np.ndarray) -> np.ndarray:
        """(C, K) px for confidences (C, K); meaningless where the confidence is 0."""
        factor = self.overall * self.by_camera[:, None] * self.by_keypoint * np.interp(confidence, self._knots, self.by_confidence)
        return self._config.pixel_sigma_px * np.clip(factor, MIN_FACTOR, MAX_FACTOR)

    def information(self, confidence: np.ndarray) -> np.ndarray:
        """(C, K) 1/px^2; 0 where the confidence is."""
        return np.where(confidence > 0, 1 / self.sigma_px(confidence) ** 2, 0.0)

    def share(self, step_s: float) -> float:
        """How many independent frames one counts as, when frames are `step_s` apart: (1 - rho) / (1 + rho), rho = exp(-step / correlation time)."""
        if self.correlation_time_s <= 0:
            return 1.0
        rho = np.exp(-step_s / self.correlation_time_s)
        return float((1 - rho) / (1 + rho))

    def observe(self, stamp_ns: int, error_px: np.ndarray, confidence: np.ndarray) -> None:
        """Residuals (C, K, 2) px of a smoothed frame whose detections had these confidences (C, K), 0 = missing."""
        if not self._config.learn:
            return
        self._errors.append(np.where((confidence > 0)[..., None], error_px, np.nan).astype(np.float32))
        self._confidence.append(confidence.astype(np.float32))
        self._stamps.append(stamp_ns)
        self._since += 1
        if self._since >= LEARN_EVERY and len(self._errors) >= 2 * LEARN_EVERY:
            self._since = 0
            self._learn()

    def _learn(self) -> None:
        errors, confidence = np.stack(self._errors), np.stack(self._confidence)
        length = np.linalg.norm(errors, axis=-1)
        seen = np.isfinite(length)
        if seen.sum() < 2 * BINS:
            return
        flat = length[seen] / (RAYLEIGH_MEDIAN * self._config.pixel_sigma_px)
        certain = confidence[seen]
        # Confidence first: edges at its quantiles, ratios against the configured law, made monotone.
        edges = np.unique(np.quantile(certain, np.linspace(0, 1, BINS + 1)))
        if len(edges) > 2:
            which = np.clip(np.searchsorted(edges, certain, side="right") - 1, 0, len(edges) - 2)
            counts = np.bincount(which, minlength=len(edges) - 1)
            found = np.array([np.median(flat[which == i]) if counts[i] else np.nan for i in range(len(counts))])
            kept = counts > 0
            knots = np.array([np.median(certain[which == i]) if counts[i] else np.nan for i in range(len(counts))])[kept]
            base = self._configured(knots)
            centre = np.median(flat)
            weight = counts[kept] / (counts[kept] + PRIOR_COUNT["confidence"])
            level = np.exp(weight * np.log(np.maximum(found[kept], 1e-3) / centre) + (1 - weight) * np.log(base / np.median(base)))
            self._knots, self.by_confidence = knots, _falling(level, counts[kept])
        else:
            self._knots, self.by_confidence = edges[:1], np.ones(1)
        ratio = np.where(seen, length, np.nan) / (RAYLEIGH_MEDIAN * self._config.pixel_sigma_px * np.interp(confidence, self._knots, self.by_confidence))
        self.overall = _shrunk(np.nanmedian(ratio), int(seen.sum()), PRIOR_COUNT["all"])
        ratio = ratio / self.overall
        self.by_camera = _groups(np.moveaxis(ratio, 1, 0), PRIOR_COUNT["camera"])
        self.by_keypoint = _groups(np.moveaxis(ratio / self.by_camera[:, None], 2, 0), PRIOR_COUNT["keypoint"])
        self._learn_correlation(errors, confidence)

    def _learn_correlation(self, errors: np.ndarray, confidence: np.ndarray) -> None:
        """From one frame to the next, of what is left when each keypoint's mean error in each camera is taken away."""
        step = np.diff(np.array(self._stamps)) * 1e-9
        usual = float(np.median(step))
        pairs = np.abs(step - usual) < 0.3 * usual
        if not pairs.any() or usual <= 0:
            return
        sigma = np.stack([self.sigma_px(c) for c in confidence])[..., None]
        whitened = errors / sigma
        good = np.linalg.norm(whitened, axis=-1) < 3.5
        whitened = np.where(good[..., None], whitened, np.nan)
        count = np.maximum(good.sum(0), 1)[..., None]
        whitened = whitened - np.nansum(whitened, 0) / count
        before, after = whitened[:-1][pairs], whitened[1:][pairs]
        product, square = before * after, 0.5 * (before**2 + after**2)
        total = np.nansum(np.where(np.isfinite(product), square, np.nan))
        if total <= 0:
            return
        # Taking the mean away from n frames lowers the correlation by about (1 + rho) / ((1 - rho) n).
        rho = float(np.nansum(product) / total)
        n = len(errors)
        rho = float(np.clip(rho + (1 + rho) / max(1 - rho, 0.05) / n, 0.0, MAX_CORRELATION))
        weight = n / (n + 30.0)
        prior = np.exp(-usual / self._config.correlation_time_s) if self._config.correlation_time_s > 0 else 0.0
        rho = weight * rho + (1 - weight) * prior
        self.correlation_time_s = float(-usual / np.log(rho)) if rho > 1e-3 else 0.0


def _shrunk(ratio: float, count: int, prior: int) -> float:
    return float(np.exp(count / (count + prior) * np.log(max(ratio, 1e-3)))) if np.isfinite(ratio) else 1.0


def _groups(ratio: np.ndarray, prior: int) -> np.ndarray:
    """One factor for each row of ratios (G, ...), NaN = missing."""
    return np.array([_shrunk(float(np.median(r[s])), int(s.sum()), prior) if (s := np.isfinite(r)).any() else 1.0 for r in ratio])


def _falling(level: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The closest sequence that never rises (pool adjacent violators), in the logarithm."""
    blocks: list[list[float]] = []
    for value, w in zip(np.log(level), weight, strict=True):
        blocks.append([float(value), float(w), 1])
        while len(blocks) > 1 and blocks[-1][0] > blocks[-2][0]:
            b, a = blocks.pop(), blocks.pop()
            blocks.append([(a[0] * a[1] + b[0] * b[1]) / (a[1] + b[1]), a[1] + b[1], a[2] + b[2]])
    return np.exp(np.concatenate([np.full(int(n), v) for v, _, n in blocks]))
