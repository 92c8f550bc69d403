"""What is known of the slow states (body, keypoint offsets, cameras, floor) before and between one person's tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from biomech_fit.config.fit import FitConfig
from biomech_fit.core.body import BodyModel
from biomech_fit.core.camera import Camera
from biomech_fit.core.gauge import Placement, rig_gauge, rig_placement
from biomech_fit.core.residuals import CAMERA_STATES
from biomech_fit.core.window import SlowLayout, SlowPrior

START_HOLD = 25.0
"""Information of the cameras' prior is this many times larger until the rig is released: a moment of nearly one pose bends them to its noise."""
SPREAD_COUNT = 1
"""The configured spread of the cameras' errors weighs as much as so many observed ones."""
SPREAD_STEP = 0.05
"""Relative change of the spread that is worth a new prior."""
FLOOR_HEIGHT_STD_M, FLOOR_SLOPE_STD = 3.0, 0.01
SUBJECT_SCALE_STD, SUBJECT_OFFSET_STD_M = 1e-3, 0.006
"""A known body is not known better than this: where a detector aims changes a little with posture and clothes, which one trial cannot tell."""
_PINNED = 1e8
"""Prior information that holds a state where it is: much more than a window's frames have, and what float32 can bear."""


@dataclass(frozen=True, eq=False)
class SlowEstimate:
    """The slow states with their covariance."""

    mean: np.ndarray
    """(M,)"""
    covariance: np.ndarray
    """(M, M)"""


@dataclass(frozen=True, eq=False)
class BodyPrior:
    """What is known of a body before it is seen."""

    scales: np.ndarray
    """(S,) scale parameters."""
    offsets: np.ndarray
    """(K, 3) m, of the solver's keypoints."""
    covariance: np.ndarray
    """(S + 3K, S + 3K) of both."""


class SlowStates:
    """Prior and latest estimate of the slow states.

    Args:
        body: with the keypoints that are fitted.
        layout: where the states are in their vector.
        cameras: as loaded.
        config: settings.
        hold: information that holds a state where it is.
    """

    def __init__(self, body: BodyModel, layout: SlowLayout, cameras: Sequence[Camera], config: FitConfig, hold: float = _PINNED):
        self.body, self.layout, self.config, self._hold = body, layout, config, hold
        self._loaded = list(cameras)
        self._anybody: BodyPrior | None = None
        self.spread = 1.0
        self.placement: Placement | None = None
        """How surely the rig stands in the world; None = surely."""
        self._restore()
        self.prior = self._static_prior()
        self.forget()

    def _restore(self) -> None:
        self.cameras = list(self._loaded)
        """The rig as it is thought to stand, without the corrections that are estimated."""
        self._moved, self._gauge_at = np.zeros(len(self.cameras), bool), np.zeros(CAMERA_STATES * len(self.cameras))

    # --- before anybody was seen ------------------------------------------------------------------------------------------------------------------

    def _static_prior(self) -> SlowPrior:
        layout, refine, priors = self.layout, self.config.refine, self.config.priors
        mean, precision = np.zeros(layout.size), np.zeros((layout.size, layout.size))
        scales = self.body.scale_precision / priors.scale_std_factor**2 if refine.scales else self._hold * np.eye(layout.n_scales)
        precision[layout.scales, layout.scales] = scales
        offset_std = self.body.keypoint_offset_std * (priors.keypoint_offset_std_m / self.body.keypoint_offset_default)
        offsets = np.repeat(1 / offset_std**2, 3) if refine.offsets else np.full(3 * layout.n_keypoints, self._hold)
        precision[layout.offsets, layout.offsets] = np.diag(offsets)
        if layout.n_cameras:
            mean[layout.cameras], precision[layout.cameras, layout.cameras] = self._camera_prior()
        precision[layout.lenses, layout.lenses] = self._lens_prior()
        if layout.has_floor:
            precision[layout.floor, layout.floor] = np.diag([FLOOR_HEIGHT_STD_M**-2, FLOOR_SLOPE_STD**-2, FLOOR_SLOPE_STD**-2])
        prior = SlowPrior(mean, precision)
        return prior if self._anybody is None else self._with_body(prior, self._anybody)

    def _own_camera_information(self, spread: float, moved: bool = False) -> np.ndarray:
        """(7,) of one camera's states, without the gauge. A pose that was found by itself is estimated even where the loaded ones are held."""
        refine = self.config.refine
        turn, shift, clock = np.deg2rad(refine.camera_rotation_std_deg), refine.camera_translation_std_m, refine.clock_std_s
        one = np.r_[np.full(3, turn**-2), np.full(3, shift**-2)] / spread if refine.cameras or moved else np.full(6, self._hold)
        return np.r_[one, clock**-2 if refine.clock else self._hold]

    def _camera_prior(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean (7 C,) and information of the cameras' states: each one is near where it was loaded, or found again, and the rig as a whole where it was."""
        one = self._own_camera_information(self.spread)
        stayed = ~self._moved if (~self._moved).sum() >= 2 else np.ones_like(self._moved)
        gauge = rig_gauge(self.cameras, one, stayed)
        self.placement = rig_placement(self.cameras, one, stayed) if self.config.refine.cameras else None
        # How well the others were loaded says nothing of one that was found again.
        each = np.where(self._moved[:, None], self._own_camera_information(1.0, moved=True), one)
        information = np.diag(each.ravel()) + gauge
        return np.linalg.solve(information, gauge @ self._gauge_at), information

    def _lens_prior(self) -> np.ndarray:
        """Information of the lens states: zero within what a calibration may be off by."""
        refine, layout = self.config.refine, self.layout
        free = refine.cameras and refine.intrinsics != "none"
        std = np.array([refine.focal_std, refine.distortion_std, refine.distortion_std])[: layout.n_lens]
        return np.diag(np.tile(std**-2 if free else np.full(layout.n_lens, self._hold), layout.n_cameras))

    def _renew_camera_prior(self) -> None:
        part, lenses, mean, precision = self.layout.cameras, self.layout.lenses, self.prior.mean.copy(), self.prior.precision.copy()
        mean[part], precision[part, part] = self._camera_prior()
        precision[lenses, lenses] = self._lens_prior()
        self.prior = SlowPrior(mean, precision)

    def solver_prior(self) -> SlowPrior:
        """The prior as the solver takes it: float32, with the cameras held more firmly until they are released."""
        precision = self.prior.precision
        if not self.released:
            precision = precision.copy()
            precision[self.layout.rig, self.layout.rig] *= START_HOLD
        return SlowPrior(np.float32(self.prior.mean), np.float32(precision))

    def rig_prior(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean ((7 + L) C,) and information of the cameras' and lenses' states before anybody was seen."""
        part = self.layout.rig
        return self.prior.mean[part], self.prior.precision[part, part]

    # --- a known body -----------------------------------------------------------------------------------------------------------------------------

    def set_subject(self, body: BodyPrior) -> None:
        """Take a known body. The cameras' corrections are kept."""
        self.prior = self._with_body(self._static_prior(), body)
        self.forget(cameras=False)

    def set_anybody(self, body: BodyPrior) -> None:
        """Take what is to be expected of anybody, in the place of what the model says. The cameras' corrections are kept."""
        self._anybody = body
        self.clear_subject()

    def _with_body(self, prior: SlowPrior, body: BodyPrior) -> SlowPrior:
        """What is not to be estimated (`refine.scales`, `refine.offsets`) is held at its value."""
        layout, refine = self.layout, self.config.refine
        mean, precision = prior.mean.copy(), prior.precision.copy()
        mean[layout.scales], mean[layout.offsets] = body.scales, body.offsets.reshape(-1)
        size = layout.offsets.stop
        precision[:size, :size] = np.linalg.inv(body.covariance)
        for part, refined in ((layout.scales, refine.scales), (layout.offsets, refine.offsets)):
            if not refined:
                precision[part, :size], precision[:size, part] = 0.0, 0.0
                precision[part, part] = self._hold * np.eye(part.stop - part.start)
        return SlowPrior(mean, precision)

    def clear_subject(self) -> None:
        """Know no more of the body than of anybody's. The cameras' corrections are kept."""
        self.prior = self._static_prior()
        self.forget(cameras=False)

    # --- what was learned -------------------------------------------------------------------------------------------------------------------------

    def forget(self, cameras: bool = True) -> None:
        """Forget what was learned of the body and, unless told otherwise, of the cameras."""
        part = self.layout.rig
        if cameras:
            self.released, self.spread = False, 1.0
            if self.layout.n_cameras:
                self._renew_camera_prior()
        mean, covariance = np.array(self.prior.mean), np.linalg.inv(self.prior.precision)
        if not cameras and self.layout.n_cameras:
            mean[part], covariance[part, part] = self.estimate.mean[part], self.estimate.covariance[part, part]
        self.estimate = SlowEstimate(mean, covariance)
        self.floor_known = False

    def refine_cameras(self, config: FitConfig) -> None:
        """Estimate the cameras' corrections from now on, or hold them at zero, as `config.refine` says."""
        self.config = config
        self._renew_camera_prior()

    def restore_cameras(self) -> None:
        """All cameras are where they were loaded; what was learned of them and of the body is forgotten."""
        self._restore()
        self.forget()

    def kept(self) -> tuple[SlowEstimate, bool]:
        """What is known now, for `restore`."""
        return self.estimate, self.floor_known

    def restore(self, kept: tuple[SlowEstimate, bool]) -> None:
        """Know again what was known then, and no more."""
        self.estimate, self.floor_known = kept

    def take_rig(self, mean: np.ndarray, covariance: np.ndarray) -> None:
        """Begin with what others have found of the cameras' and lenses' states ((7 + L) C,)."""
        part = self.layout.rig
        self.estimate.mean[part], self.estimate.covariance[part, part] = mean, covariance
        self.released = True

    def observe(self, mean: np.ndarray, covariance: np.ndarray) -> None:
        """The solver's latest estimate."""
        covariance = np.asarray(covariance, float)
        if not self.released and self.layout.rig.stop > self.layout.rig.start:
            covariance = self._without_hold(covariance)
        self.estimate, self.floor_known = SlowEstimate(np.asarray(mean, float), covariance), True

    def _without_hold(self, covariance: np.ndarray) -> np.ndarray:
        """The covariance without the information that holds the rig until it is released, and which nobody has learned (Woodbury's identity)."""
        rig = self.layout.rig
        # In units of the prior, where the hold is a multiple of the identity, and what is known at least as firm as prior and hold.
        half = np.linalg.cholesky(self.prior.precision[rig, rig])
        value, vector = np.linalg.eigh(half.T @ covariance[rig, rig] @ half)
        gain = 1 / (1 / (START_HOLD - 1) - np.clip(value, 0.0, 1 / START_HOLD))
        side = covariance[:, rig] @ half @ vector
        return covariance + (side * gain) @ side.T

    def learned(self) -> np.ndarray:
        """(M, M) information that earlier tracks learned beyond the prior."""
        beyond = np.linalg.inv(self.estimate.covariance) - self.prior.precision
        value, vector = np.linalg.eigh(0.5 * (beyond + beyond.T))
        return (vector * np.maximum(value, 0.0)) @ vector.T

    def learn_spread(self) -> bool:
        """How wrong the loaded calibration is, told by the corrections found so far: the spread (variance, relative to the configured one) of all cameras'
        errors, by one step of expectation maximisation. A good calibration is then held more firmly than configured, and a poor one less. True = new prior.
        """
        if not (self.released and self.config.refine.cameras and (~self._moved).sum() > 2):
            return False
        states = (CAMERA_STATES * np.flatnonzero(~self._moved)[:, None] + np.arange(6)).ravel()
        part = self.layout.cameras
        squares = self.estimate.mean[part] ** 2 + np.diag(self.estimate.covariance[part, part])
        observed = float(squares[states] @ np.tile(self._own_camera_information(1.0)[:6], len(states) // 6))
        # The rig's seven common motions are held at zero and say nothing.
        spread = (SPREAD_COUNT + observed) / (SPREAD_COUNT + len(states) - 7)
        if abs(np.log(spread / self.spread)) < SPREAD_STEP:
            return False
        self.spread = float(spread)
        self._renew_camera_prior()
        return True

    def place(self, c: int, camera: Camera) -> None:
        """Before anything is seen: camera c stands elsewhere than it was loaded."""
        self._set(c, camera)
        self._renew_camera_prior()
        self.estimate = SlowEstimate(self.prior.mean.copy(), np.linalg.inv(self.prior.precision))

    def _set(self, c: int, camera: Camera) -> None:
        self.cameras[c] = replace(self._loaded[c], rotation=camera.rotation, translation=camera.translation)
        self._moved[c] = True

    def move_camera(self, c: int, camera: Camera, states: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Camera c stands elsewhere from now on: nothing is known of its pose and clock but their own prior; its lens is the one it had. The rig as a whole
        stays where the other cameras' `states` (7 C,) have it now. Returns the indices (7,) of its states, and the information (7,) and mean (7,) of the
        prior that they had.
        """
        local = CAMERA_STATES * c + np.arange(CAMERA_STATES)
        had, own = (self._own_camera_information(spread) for spread in (1.0 if self._moved[c] else self.spread, 1.0))
        own_states, before = self.layout.cameras.start + local, self.prior.mean
        if self.config.refine.clock:
            # Its prior is heavy-tailed (`WindowCosts.slow_precision`).
            had[-1] /= 1 + had[-1] * (self.estimate.mean - before)[own_states[-1]] ** 2
        self._set(c, camera)
        self._gauge_at = states.copy()
        self._gauge_at[local] = 0.0
        self._renew_camera_prior()
        mean, covariance = self.estimate.mean.copy(), self.estimate.covariance.copy()
        mean[own_states[:-1]], covariance[own_states], covariance[:, own_states] = 0.0, 0.0, 0.0
        covariance[own_states, own_states] = 1 / own
        self.estimate = SlowEstimate(mean, covariance)
        return own_states, had, before[own_states]
