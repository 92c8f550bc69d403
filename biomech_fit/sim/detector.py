"""What a keypoint detector makes of the true points: noise, heavy tails, confidence, gaps, confusions, strangers, lost packets, wrong clocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from biomech_fit.core.camera import Camera
from biomech_fit.core.types import KeypointPacket
from biomech_fit.sim.cameras import project
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.faults import Away, Fault, Stranger, Swaps, any_active, clock_step, delivery, struck

CONFIDENCE_LOGIT = 2.0
"""logit(confidence) = 2 - slope ln(error scale / sigma) + noise: 0.88 for an ordinary point, with a slope of 1.8 0.38 for one with four times the error."""
MIN_VISIBLE = 3
"""A person of whom fewer points are in the image is not detected."""
STRANGER_DETECTED = 0.95


@dataclass(frozen=True, eq=False)
class Detections:
    """All that one camera's detector says. Frame f is stamped `stamp_ns[f]` and arrives at `arrival_ns[f]`; lost packets are not `sent`."""

    camera: str
    stamp_ns: np.ndarray
    """(T,) int64"""
    sent: np.ndarray
    """(T,) bool"""
    xy: np.ndarray
    """(T, P, K, 2) float32 px, NaN = missing; person 0 is the subject."""
    confidence: np.ndarray
    """(T, P, K) float32"""
    order: np.ndarray
    """(T, P) the order in which the detector names the people; -1 = not detected in this frame."""
    arrival_ns: np.ndarray
    """(T,) int64, on a clock that is never set."""
    twice: np.ndarray
    """(T,) bool: the packet arrives once more."""

    def packet(self, frame: int, arrival_ns: int) -> KeypointPacket:
        """The packet of a frame as it arrives at a time; arrival is left open where it is the stamp."""
        people = self.order[frame][self.order[frame] >= 0]
        ids = np.full(len(people), -1, np.int32)
        stamp = int(self.stamp_ns[frame])
        received = None if arrival_ns == stamp else arrival_ns
        return KeypointPacket(self.camera, stamp, self.xy[frame, people], self.confidence[frame, people], ids, received)


def keypoint_sigma_px(config: SimConfig, mirror: np.ndarray) -> np.ndarray:
    """(K,) px: how far off this detector's keypoints are along each pixel axis, on everybody. `mirror` (K,): left-right partners."""
    normal = np.random.default_rng([config.detector_seed, 1]).standard_normal(len(mirror))
    return config.sigma_px * np.exp(config.sigma_spread * normal[np.minimum(np.arange(len(mirror)), mirror)])


def detect(
    config: SimConfig,
    stands: Sequence[tuple[float, Camera]],
    points: np.ndarray,
    time_s: np.ndarray,
    mirror: np.ndarray,
    rng: np.random.Generator,
    faults: Sequence[Fault],
    fault_rng: np.random.Generator,
    hidden: Callable[[], np.ndarray],
) -> Detections:
    """One camera's detections of the subject, and of a stranger where there is one.

    stands: (from when, camera), of `faults.places`. points: (T, K, 3) m, what the detector aims at, at this camera's own exposure times.
    time_s: (T,) s, nominal frame times.
    mirror: (K,) left-right partner of each keypoint. faults: of this camera; their random numbers come from `fault_rng`, so that a fault leaves the rest
    as it is. hidden: gives (T, K) bool, points behind trunk or thighs; called only where occlusion matters.
    """
    frames, count = points.shape[:2]
    camera = stands[0][1]
    people, sigma_px = [points], keypoint_sigma_px(config, mirror)
    strange = any_active(faults, Stranger, time_s)
    if strange.any():
        people.append(_stranger(points, camera, rng))
    burst = struck([f for f in faults if isinstance(f, Swaps)], time_s, fault_rng)
    xy = np.empty((frames, len(people), count, 2), np.float32)
    confidence = np.empty((frames, len(people), count), np.float32)
    for p, body in enumerate(people):
        factor = np.where(rng.random((frames, count)) < config.outlier_fraction, config.outlier_factor, 1.0)
        if p == 0 and config.occlusion_factor > 1.0:
            factor = np.where(hidden(), np.maximum(factor, config.occlusion_factor), factor)
        pixels = _projected(stands, body, time_s) + (sigma_px * factor)[..., None] * _noise(config, rng, (frames, count, 2))
        logit = CONFIDENCE_LOGIT - config.confidence_slope * np.log(factor) + config.confidence_noise * rng.standard_normal((frames, count))
        score = 1.0 / (1.0 + np.exp(-logit))
        swapped = _swapped(config, rng, frames) ^ burst
        pixels = np.where(swapped[:, None, None], pixels[:, mirror], pixels)
        score = np.where(swapped[:, None], score[:, mirror], score)
        size = np.array([camera.width, camera.height])
        with np.errstate(invalid="ignore"):
            outside = ~np.all((pixels >= -0.5) & (pixels < size - 0.5), axis=2)
        lost = outside | (rng.random((frames, count)) < config.missing_fraction)
        xy[:, p] = np.where(lost[..., None], np.nan, pixels)
        confidence[:, p] = np.where(lost, 0.0, score)
    seen = np.isfinite(xy[..., 0]).sum(axis=2) >= MIN_VISIBLE
    seen[:, 0] &= ~any_active(faults, Away, time_s)
    if len(people) > 1:
        seen[:, 1] &= strange & (rng.random(frames) < STRANGER_DETECTED)
    order = np.argsort(rng.random((frames, len(people))), axis=1)
    order = np.where(np.take_along_axis(seen, order, axis=1), order, -1)
    sent = rng.random(frames) >= config.packet_loss
    stamp = time_s + 1e-3 * config.stamp_jitter_ms * rng.standard_normal(frames)
    delivered, delay, twice = delivery(faults, time_s, 1.0 / config.frame_rate_hz, fault_rng)
    stamp = np.maximum(stamp, 0.0)
    step = clock_step(faults, time_s)
    return Detections(camera.name, _nanoseconds(stamp + step), sent & delivered, xy, confidence, order, _nanoseconds(stamp + delay), twice)


def _nanoseconds(time_s: np.ndarray) -> np.ndarray:
    return np.round(time_s * 1e9).astype(np.int64)


def _projected(stands: Sequence[tuple[float, Camera]], points: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """(T, K, 2) px through the camera as it stands at each time."""
    pixels = project(stands[0][1], points)
    for from_s, camera in stands[1:]:
        after = time_s >= from_s
        pixels[after] = project(camera, points[after])
    return pixels


def _noise(config: SimConfig, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Unit-variance normal noise, correlated along time as configured (AR(1) with the same correlation time at every frame rate)."""
    white = rng.standard_normal(shape)
    rho = config.noise_correlation ** (60.0 / config.frame_rate_hz)
    if rho == 0.0:
        return white
    return lfilter([np.sqrt(1.0 - rho**2)], [1.0, -rho], white, axis=0, zi=rho * rng.standard_normal((1, *shape[1:])))[0]


def _swapped(config: SimConfig, rng: np.random.Generator, frames: int) -> np.ndarray:
    """(T,) bool: frames in which left and right are confused. Confusions begin as a Poisson process and last exponential times."""
    begin = rng.random(frames) < config.swaps_per_s / config.frame_rate_hz
    length = 1 + np.floor(rng.exponential(config.swap_length_s * config.frame_rate_hz, frames)).astype(int)
    swapped = np.zeros(frames, bool)
    for f in np.nonzero(begin)[0]:
        swapped[f : f + length[f]] = True
    return swapped


def _stranger(points: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """(T, K, 3) a second person who potters about 2.5 to 3.5 m behind the volume as this camera sees it, of another size and with other timing."""
    body = points[::-1]
    centre = np.nanmean(body, axis=1, keepdims=True)
    centre[..., 2] = 0.0
    mean = np.nanmean(centre, axis=0, keepdims=True)
    angle = rng.uniform(0.0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0], [0.0, 0.0, 1.0]])
    eye = -camera.rotation.T @ camera.translation
    away = -np.array([eye[0], eye[1], 0.0])
    away /= np.linalg.norm(away)
    aside = np.array([-away[1], away[0], 0.0])
    place = rng.uniform(2.5, 3.5) * away + rng.uniform(-1.0, 1.0) * aside
    return (rng.uniform(0.9, 1.08) * (body - centre) + 0.25 * (centre - mean)) @ turn.T + place


def hidden_points(camera: Camera, points: np.ndarray, capsules: list[tuple[np.ndarray, np.ndarray, float]]) -> np.ndarray:
    """(T, K) bool: the line from the camera to the point (T, K, 3) passes through a capsule (ends (T, 3), (T, 3), radius m) that the point is not part of."""
    eye = -camera.rotation.T @ camera.translation
    hidden = np.zeros(points.shape[:2], bool)
    ray = points - eye
    for first, second, radius in capsules:
        axis = (second - first)[:, None]
        start = (first - eye)[:, None]
        # Closest points of the ray (parameter a in 0..1 to the point) and of the capsule's axis (b in 0..1).
        rr, rx, xx = (ray * ray).sum(-1), (ray * axis).sum(-1), (axis * axis).sum(-1)
        rs, xs = (ray * start).sum(-1), (axis * start).sum(-1)
        b = np.clip((rx * rs - rr * xs) / np.maximum(rr * xx - rx**2, 1e-9), 0.0, 1.0)
        a = np.clip((rs + b * rx) / np.maximum(rr, 1e-9), 0.0, 1.0)
        gap = np.linalg.norm(a[..., None] * ray - start - b[..., None] * axis, axis=-1)
        own_b = np.clip(((points - first[:, None]) * axis).sum(-1) / xx, 0.0, 1.0)
        own = np.linalg.norm(points - first[:, None] - own_b[..., None] * axis, axis=-1)
        with np.errstate(invalid="ignore"):
            hidden |= (gap < radius) & (own > 1.3 * radius)
    return hidden
