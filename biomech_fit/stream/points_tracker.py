"""One person's track from 3D points instead of cameras: the same window, with another kind of observation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import numpy as np

from biomech_fit.config.fit import FitConfig
from biomech_fit.core.body import BodyModel
from biomech_fit.core.linear import SlowShare
from biomech_fit.core.point_residuals import PointCosts, PointObservations
from biomech_fit.core.result import Readout, Result
from biomech_fit.core.solver import Frame
from biomech_fit.core.types import PoseEstimate
from biomech_fit.stream.association import Views
from biomech_fit.stream.noise import DetectorNoise
from biomech_fit.stream.noise_model import noise_before
from biomech_fit.stream.person import PersonTracker
from biomech_fit.stream.slow_states import SUBJECT_OFFSET_STD_M

LOST_CHORD = 1.0
"""Bones whose unit vectors differ by more than this (60 degrees, median) are not this body's."""


@dataclass(frozen=True, eq=False)
class PointViews(Views):
    """The 3D points taken for one person; there is no camera."""

    points: np.ndarray
    """(K, 3) m; NaN = missing."""
    sigma_m: np.ndarray
    """(K,) standard deviation per axis."""

    @classmethod
    def of_points(cls, points: np.ndarray, sigma_m: np.ndarray) -> PointViews:
        k = len(points)
        return cls(np.zeros((0, k, 2)), np.zeros((0, k)), np.zeros(0, int), points, sigma_m)

    @property
    def there(self) -> np.ndarray:
        """(K,) bool"""
        return np.isfinite(self.points).all(-1)


class PointsTracker(PersonTracker):
    """`bones` (E, 2): pairs of the solver's keypoints, for `points.residual: direction`. Sizes and offsets are then held: directions hardly tell them."""

    def __init__(self, body: BodyModel, mapped: np.ndarray, config: FitConfig, device: jax.Device, bones: np.ndarray):
        self._bones = bones
        self.by_direction = config.points.residual == "direction"
        if self.by_direction:
            config = replace(config, refine=replace(config.refine, scales=False, offsets=False))
        compared = tuple((int(a), int(b)) for a, b in bones) if self.by_direction else ()
        costs = PointCosts(compared, config.points.drift_sigma_m)
        # How far a point may lie from the model's is the model's word here: marker sets and joint centres differ too much for one general value.
        priors = replace(config.priors, keypoint_offset_std_m=body.keypoint_offset_default)
        config = replace(config, noise=replace(config.noise, robust_kernel=config.points.robust_kernel), priors=priors)
        self._added: np.ndarray = np.zeros(0)
        self._added_of: SlowShare | None = None
        super().__init__(body, mapped, [], config, config.stream.frame_rate_hz, device, costs, config.points.pose_memory_s)
        self._lengths = _lengths(self.template, bones)

    def start(self, stamp_ns: int, views: Views, points: np.ndarray, delay_s: np.ndarray) -> PoseEstimate | None:
        """Place the body on the points; with directions on points of the model's own size."""
        if self.by_direction:
            size = np.nanmedian(_lengths(points, self._bones) / self._lengths) if np.isfinite(_lengths(points, self._bones)).any() else np.nan
            centre = np.nanmean(points, axis=0)
            points = centre + (points - centre) / size
        return super().start(stamp_ns, views, points, delay_s)

    def is_off(self, result: Result, views: Views) -> bool:
        """Whether the newest body lies far from the points seen of it, or its bones lie otherwise."""
        assert isinstance(views, PointViews)
        keypoints, there = result.frames.keypoints[0], views.there
        if self.by_direction:
            seen = there[self._bones].all(1)
            chord = np.linalg.norm(_directions(views.points, self._bones) - _directions(keypoints, self._bones), axis=1)[seen]
            return bool(len(chord) and np.median(chord) > LOST_CHORD)
        off = (views.points - keypoints)[there]
        if self.config.points.drift_sigma_m > 0 and len(off):
            off = off - np.median(off, axis=0)
        return bool(len(off) and np.median(np.linalg.norm(off, axis=1)) > self.config.points.lost_m)

    def _forget_detector(self) -> None:
        # One "camera" whose errors are in units of the points' own standard deviations.
        noise = replace(self.config.noise, pixel_sigma_px=1.0, learn=self.config.noise.learn and not self.by_direction)
        self.noise = DetectorNoise(noise, noise_before(noise, 1, self.body.keypoint_names))
        self.drop()

    def _frame(self, views: Views, delay_s: np.ndarray, share: float, u: float, late: int) -> Frame:
        assert isinstance(views, PointViews)
        there = views.there
        information = self.noise.information(there[None].astype(float))[0] / views.sigma_m**2
        points = PointObservations(np.float32(np.where(there[:, None], views.points, 0.0)), np.float32(np.where(there, information, 0.0)))
        return self._blank(u, late)._replace(share=np.float32(share), points=points)

    def _blank(self, u: float, late: int) -> Frame:
        k = self.layout.n_keypoints
        return super()._blank(u, late)._replace(points=PointObservations(np.zeros((k, 3), np.float32), np.zeros(k, np.float32)))

    def _readout(self, result: Result) -> Readout:
        """With what is added to the angles' uncertainty by points that are not quite where they are on the body, and not always in the same place.

        One point each carries a limb's end, so that a millimetre there is degrees where the limb is straight; averaging over time does not help against it.
        """
        frames = super()._readout(result)
        if self._held is None:
            return frames
        share = self._held.share
        if share is not self._added_of:
            self._added, self._added_of = self._placing(share), share
        return frames._replace(covariance=frames.covariance + self._added)

    def _placing(self, share: SlowShare) -> np.ndarray:
        """(2, N, N) what is added to the covariance of the newest and the lagged frame; at most the pose prior, coordinate by coordinate."""
        slow, pose_slow, offsets = np.asarray(share.slow, float), np.asarray(share.pose_slow, float), self.layout.offsets
        if not (np.isfinite(slow).all() and np.isfinite(pose_slow).all()):
            return np.zeros((2, pose_slow.shape[1], pose_slow.shape[1]))
        size = len(slow)
        by_slow = np.linalg.solve(slow + 1e-12 * np.eye(size), pose_slow.reshape(-1, size).T).T.reshape(pose_slow.shape)[:, :, offsets]
        added = SUBJECT_OFFSET_STD_M**2 * by_slow @ np.swapaxes(by_slow, 1, 2)
        least = 1 / np.sqrt(1 + np.diagonal(added, axis1=1, axis2=2) / self.body.pose_std**2)
        return least[:, :, None] * added * least[:, None, :]

    # A point may be many of its standard deviations from where the body is expected, and its weight is that of before the step: a second one follows.

    def _advance(self, frame: Frame, iterations: int, widen: float) -> Result:
        return super()._advance(frame, max(iterations, 2), widen)

    def _advance_held(self, frame: Frame) -> Result:
        super()._advance_held(frame)
        return super()._advance_held(self._blank(-1.0, int(frame.late)))

    def _learn_noise(self, stamp_ns: int, views: Views, result: Result) -> None:
        assert isinstance(views, PointViews)
        error = (views.points - result.frames.keypoints[1]) / views.sigma_m[:, None]
        if self.config.points.drift_sigma_m > 0 and views.there.any():
            error = error - np.nanmedian(error, axis=0)
        self.noise.observe(stamp_ns, error[None], views.there[None].astype(float))


def _directions(points: np.ndarray, bones: np.ndarray) -> np.ndarray:
    """(E, 3) unit vectors."""
    bone = points[bones[:, 1]] - points[bones[:, 0]]
    return bone / np.maximum(np.linalg.norm(bone, axis=1, keepdims=True), 1e-9)


def _lengths(points: np.ndarray, bones: np.ndarray) -> np.ndarray:
    """(E,) m"""
    return np.linalg.norm(points[bones[:, 1]] - points[bones[:, 0]], axis=1)
