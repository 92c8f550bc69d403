"""One person's track: starts it, feeds the window solver frame by frame, and keeps the slow states when the person is lost."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache

import jax
import numpy as np

from biomech_fit.config.fit import FitConfig
from biomech_fit.core.body import BodyModel
from biomech_fit.core.camera import Camera
from biomech_fit.core.contact import ContactNoise
from biomech_fit.core.gauge import Placement, rig_gauge, rig_placement
from biomech_fit.core.initial import PoseStarter
from biomech_fit.core.linear import SlowShare
from biomech_fit.core.projection import camera_arrays, lens_flags
from biomech_fit.core.readout import Seen, pose_estimate, rotation_vector_matrix
from biomech_fit.core.residuals import CAMERA_STATES
from biomech_fit.core.result import Result
from biomech_fit.core.solver import Frame, WindowSolver
from biomech_fit.core.types import PoseEstimate, Status
from biomech_fit.core.window import ORDER, Head, SlowPrior, Window, empty_window
from biomech_fit.core.window_costs import SolverOptions
from biomech_fit.stream.association import Views
from biomech_fit.stream.between import between_frames
from biomech_fit.stream.noise import DetectorNoise

KNOT_SPACING_S = 1 / 30
START_WIDEN = 8.0
GROWING_ITERATIONS = 2
"""Gauss-Newton steps per frame until the window is full: the slow states still move."""
MAX_START_ERROR_M = 0.25
"""Median distance of triangulated keypoints from the first pose; beyond it they are not one person's."""
BEYOND_LAG_S = 0.15
"""How much longer the window is than the lag."""
SLOW_START_S, SLOW_STEP_S = 2.0, 0.045
"""When a track is older than the first, its slow states move no more often than the second; on frames between they are held."""
JITTER_PLACES = 0.05
"""A frame expected so little (knot spacings) before the window's end is taken for one beyond it."""
START_HOLD, START_HOLD_S = 25.0, 1.0
"""Information of the cameras' prior is this many times larger in the first second of a rig that has seen nobody yet."""
SPREAD_COUNT = 1
"""The configured spread of the cameras' errors weighs as much as so many observed ones."""
CONTACT_MEMORY_S = 0.15
"""What is wrong with a resting foot's model stays so for about this long: so many seconds count as one sample."""
FLOOR_HEIGHT_STD_M, FLOOR_SLOPE_STD = 3.0, 0.01
_PINNED = 1e8
"""Prior information that holds a state where it is."""
SUBJECT_SCALE_STD, SUBJECT_OFFSET_STD_M = 1e-3, 0.006
"""A known body is not known better than this: where a detector aims changes a little with posture and clothes, which one trial cannot tell."""
"""A known body is taken as known no better than this (scales; offsets in m): the solver's float32 holds no more."""

# Compiled once for all people and pipelines of one body, whatever their calibration.
_shared_solver = lru_cache(maxsize=4)(WindowSolver)
_shared_starter = lru_cache(maxsize=4)(PoseStarter)


@dataclass(frozen=True, eq=False)
class SlowEstimate:
    """The slow states with their covariance, kept from track to track."""

    mean: np.ndarray
    """(M,)"""
    covariance: np.ndarray
    """(M, M)"""


def window_frames(config: FitConfig, frame_rate_hz: float) -> int:
    """Frames in the window. Much longer ones give no better result: what leaves the window goes on to speak as a prior, only it is not linearised again."""
    lag_s = config.window.lag_s
    return max(config.window.frames, round((lag_s + BEYOND_LAG_S) * frame_rate_hz), round(lag_s * frame_rate_hz) + 4)


def solver_options(config: FitConfig, frame_rate_hz: float, cameras: list[Camera], has_feet: bool, backend: str) -> SolverOptions:
    """Sizes and constants for a rig at a frame rate."""
    frames = window_frames(config, frame_rate_hz)
    spacing = max(KNOT_SPACING_S, 1 / frame_rate_hz)
    per_interval = max(1, int(np.ceil(spacing * frame_rate_hz - 1e-6)))
    intervals = max(int(np.ceil(frames / (spacing * frame_rate_hz) - 1e-6)), 3)
    distorted, fisheye = lens_flags(cameras)
    return SolverOptions(
        frames=frames + per_interval,
        knots=intervals + ORDER,
        spacing_s=spacing,
        leaving_frames=min(2 * per_interval, frames),
        refine_cameras=config.refine.cameras or config.refine.clock,
        robust_clock=config.refine.clock,
        contact=ContactNoise(config.contact.speed_std_m_s, config.contact.speed_limit_m_s, config.contact.height_std_m, config.contact.height_limit_m)
        if config.contact.use and has_feet
        else None,
        contact_samples=1 / (frame_rate_hz * CONTACT_MEMORY_S),
        kernel=config.noise.robust_kernel,
        kernel_scale=config.noise.robust_scale,
        jerk_scale=config.motion.jerk_scale,
        acceleration_scale=config.motion.acceleration_scale,
        pose_std_factor=config.priors.pose_std_factor,
        limit_std=config.priors.joint_limit_std_rad,
        damping=config.window.damping,
        memory_s=config.refine.memory_s,
        linear_solver="banded" if backend == "cpu" else "dense",
        has_distortion=distorted,
        has_fisheye=fisheye,
    )


class PersonTracker:
    """Solver state of one person. `body` has only keypoints that the model knows; `mapped` (K_set,) says where they are in the detector's set."""

    def __init__(self, body: BodyModel, mapped: np.ndarray, cameras: list[Camera], config: FitConfig, frame_rate_hz: float, device: jax.Device):
        self.body, self.mapped, self.cameras, self.config = body, mapped, list(cameras), config
        self._loaded = list(cameras)
        self._device = device
        self._alone = config.stream.max_people == 1
        self.options = solver_options(config, frame_rate_hz, cameras, bool(body.foot_points), device.platform)
        with jax.default_device(device):
            self.solver = _shared_solver(body, len(cameras), self.options)
            self._starter = _shared_starter(body)
        self.layout = self.solver.layout
        self.lag_frames = min(round(config.window.lag_s * frame_rate_hz), self.options.frames - 2)
        self._spacing_ns, self._frame_rate_hz = self.options.spacing_s * 1e9, frame_rate_hz
        self._shifting: Future[Window] | None = None
        self._forget_moves()
        self._placement: Placement | None = None
        self._spread = 1.0
        self._prior = self._static_prior()
        self.forget()

    # --- slow states ------------------------------------------------------------------------------------------------------------------------------

    def _static_prior(self) -> SlowPrior:
        layout, refine, priors = self.layout, self.config.refine, self.config.priors
        mean, precision = np.zeros(layout.size), np.zeros((layout.size, layout.size))
        scales = self.body.scale_precision / priors.scale_std_factor**2 if refine.scales else _PINNED * np.eye(layout.n_scales)
        precision[layout.scales, layout.scales] = scales
        model_default = np.median(self.body.keypoint_offset_std) if len(self.body.keypoint_offset_std) else 1.0
        offset_std = self.body.keypoint_offset_std * (priors.keypoint_offset_std_m / model_default)
        offsets = np.repeat(1 / offset_std**2, 3) if refine.offsets else np.full(3 * layout.n_keypoints, _PINNED)
        precision[layout.offsets, layout.offsets] = np.diag(offsets)
        if layout.n_cameras:
            mean[layout.cameras], precision[layout.cameras, layout.cameras] = self._camera_prior()
        if layout.has_floor:
            precision[layout.floor, layout.floor] = np.diag([FLOOR_HEIGHT_STD_M**-2, FLOOR_SLOPE_STD**-2, FLOOR_SLOPE_STD**-2])
        return SlowPrior(mean, precision)

    def _own_camera_information(self) -> np.ndarray:
        """(7,) of each camera's states, without the gauge."""
        refine = self.config.refine
        turn, shift, clock = np.deg2rad(refine.camera_rotation_std_deg), refine.camera_translation_std_m, refine.clock_std_s
        one = np.r_[np.full(3, turn**-2), np.full(3, shift**-2)] / self._spread if refine.cameras else np.full(6, _PINNED)
        return np.r_[one, clock**-2 if refine.clock else _PINNED]

    def _camera_prior(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean (7 C,) and information of the cameras' states: each one is near where it was loaded, or found again, and the rig as a whole where it was."""
        one = self._own_camera_information()
        stayed = ~self._moved if (~self._moved).sum() >= 2 else np.ones_like(self._moved)
        gauge = rig_gauge(self.cameras, one, stayed)
        self._placement = rig_placement(self.cameras, one, stayed) if self.config.refine.cameras else None
        information = np.diag(np.tile(one, len(self.cameras))) + gauge
        return np.linalg.solve(information, gauge @ self._gauge_at), information

    def set_subject(self, scales: np.ndarray, offsets: np.ndarray, covariance: np.ndarray) -> None:
        """Take a known body: scale parameters (S,) and keypoint offsets (K, 3) m with their joint covariance (S + 3K, S + 3K) become the prior.

        What is not to be estimated (`refine.scales`, `refine.offsets`) is held at its value. The cameras' corrections are kept.
        """
        layout, refine, prior = self.layout, self.config.refine, self._static_prior()
        mean, precision = prior.mean.copy(), prior.precision.copy()
        mean[layout.scales], mean[layout.offsets] = scales, offsets.reshape(-1)
        size = layout.offsets.stop
        floor = np.r_[np.full(layout.n_scales, SUBJECT_SCALE_STD), np.full(size - layout.n_scales, SUBJECT_OFFSET_STD_M)]
        precision[:size, :size] = np.linalg.inv(covariance + np.diag(floor**2))
        for part, refined in ((layout.scales, refine.scales), (layout.offsets, refine.offsets)):
            if not refined:
                precision[part, :size], precision[:size, part] = 0.0, 0.0
                precision[part, part] = _PINNED * np.eye(part.stop - part.start)
        self._prior = SlowPrior(mean, precision)
        self.forget(cameras=False)

    def clear_subject(self) -> None:
        """Know nothing of the body any more. The cameras' corrections are kept."""
        self._prior = self._static_prior()
        self.forget(cameras=False)

    def forget(self, cameras: bool = True) -> None:
        """Drop the track and what it learned of the body and, unless told otherwise, of the cameras."""
        mean = np.array(self._prior.mean)
        covariance = np.linalg.inv(self._prior.precision)
        if not cameras and hasattr(self, "slow") and self.layout.n_cameras:
            part = self.layout.cameras
            mean[part], covariance[part, part] = self.slow.mean[part], self.slow.covariance[part, part]
        else:
            self._cameras_released, self._spread = False, 1.0
            self.noise = DetectorNoise(self.config.noise, len(self.cameras), self.layout.n_keypoints)
        self.slow = SlowEstimate(mean, covariance)
        self._floor_known = False
        self.drop()

    def cameras_prior(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean (7 C,) and information of the cameras' states before anybody was seen."""
        part = self.layout.cameras
        return self._prior.mean[part], self._prior.precision[part, part]

    def restore_cameras(self) -> None:
        """All cameras are where they were loaded; what is known of them and of the body is forgotten."""
        self.cameras = list(self._loaded)
        self._forget_moves()
        self._prior = self._static_prior()
        self.forget()

    def _forget_moves(self) -> None:
        self._moved, self._gauge_at = np.zeros(len(self.cameras), bool), np.zeros(CAMERA_STATES * len(self.cameras))

    def move_camera(self, c: int, camera: Camera, states: np.ndarray) -> None:
        """Take camera c to stand elsewhere from now on: it begins anew from there with its own prior, and all that was known of its pose is forgotten.

        What its old pose told of all else is kept (it is marginalised out of the window's head); its frames in the window no longer count. The rig as a
        whole stays where the other cameras' `states` (7 C,) have it now, whatever camera c does.
        """
        assert self.layout.n_cameras
        part, own = self.layout.cameras, self._own_camera_information()[:6]
        local = CAMERA_STATES * c + np.arange(6)
        pose, before = part.start + local, self._prior.mean
        self.cameras[c] = camera
        self._moved[c] = True
        self._gauge_at = states.copy()
        self._gauge_at[local] = 0.0
        mean, precision = self._prior.mean.copy(), self._prior.precision.copy()
        mean[part], precision[part, part] = self._camera_prior()
        self._prior = SlowPrior(mean, precision)
        slow, covariance = self.slow.mean.copy(), self.slow.covariance.copy()
        slow[pose], covariance[pose], covariance[:, pose] = 0.0, 0.0, 0.0
        covariance[pose, pose] = 1 / own
        self.slow = SlowEstimate(slow, covariance)
        self._join()
        if self.window is None:
            return
        self._share = None
        window, split = self.window, ORDER * self.body.mj_model.nv
        head = _without(window.head, split + pose, own, before[pose])
        information, state = np.array(window.observed.information), np.array(window.slow)
        information[:, c], state[pose] = 0.0, 0.0
        with jax.default_device(self._device):
            arrays = type(window.cameras)(*(np.array(a) for a in camera_arrays(self.cameras)))
        prior = self._prior if self._cameras_released else self._held_prior()
        observed = window.observed._replace(information=information)
        self.window = window._replace(cameras=arrays, slow=state, prior=_float32(prior), head=head, rounded=None, observed=observed)
        for _, uv, points in self._pixels:
            uv[c] = camera.project(points)

    def _learn_spread(self) -> None:
        """How wrong the loaded calibration is, told by the corrections found so far: the spread (variance, relative to the configured one) of all cameras'
        errors, by one step of expectation maximisation. A good calibration is then held more firmly, and a poor one less, than the configured."""
        if not (self._cameras_released and self._alone and self.config.refine.cameras and (~self._moved).sum() > 2):
            return
        states = (CAMERA_STATES * np.flatnonzero(~self._moved)[:, None] + np.arange(6)).ravel()
        part = self.layout.cameras
        squares = self.slow.mean[part] ** 2 + np.diag(self.slow.covariance[part, part])
        observed = float(squares[states] @ np.tile(self._own_camera_information()[:6], len(states) // 6)) * self._spread
        # The rig's seven common motions are held at zero and say nothing.
        spread = (SPREAD_COUNT + observed) / (SPREAD_COUNT + len(states) - 7)
        if abs(np.log(spread / self._spread)) < 0.05:
            return
        self._spread = float(spread)
        precision = self._prior.precision.copy()
        _, precision[part, part] = self._camera_prior()
        self._prior = SlowPrior(self._prior.mean, precision)
        self.window = self.window._replace(prior=_float32(self._prior))

    def take_cameras(self, mean: np.ndarray, covariance: np.ndarray) -> None:
        """Begin with what others have found of the cameras' states (7 C,)."""
        part = self.layout.cameras
        self.slow.mean[part], self.slow.covariance[part, part] = mean, covariance
        self._cameras_released = True

    def clocks(self) -> np.ndarray:
        """(C,) s: by how much each camera exposes after its stamp, as estimated so far."""
        return self.slow.mean[self.layout.cameras][CAMERA_STATES - 1 :: CAMERA_STATES] if self.layout.n_cameras else np.zeros(len(self.cameras))

    @property
    def template(self) -> np.ndarray:
        """(K, 3) m: the model's keypoints at rest."""
        return self._starter.template

    def drop(self) -> None:
        """Drop the pose, keep the slow states for the next start."""
        self._join()
        self.window: Window | None = None
        self._share: SlowShare | None = None
        self._slow_ns = 0
        self._seen: deque[Seen | None] = deque([None] * self.options.frames, maxlen=self.options.frames)
        self._views: deque[Views] = deque(maxlen=self.options.frames)
        self._pixels: list[tuple[int, np.ndarray, np.ndarray]] = []
        self.frames = 0

    def _held_prior(self) -> SlowPrior:
        """The static prior with the cameras held more firmly: a moment of nearly one pose tells little about them, and bends them to its noise."""
        precision = self._prior.precision.copy()
        precision[self.layout.cameras, self.layout.cameras] *= START_HOLD
        return SlowPrior(self._prior.mean, precision)

    def _learned(self) -> np.ndarray:
        """Information of a head that knows what earlier tracks learned of the slow states beyond the static prior, and nothing of the pose."""
        n, m = self.body.mj_model.nv, self.layout.size
        learned = np.linalg.inv(self.slow.covariance) - self._prior.precision
        value, vector = np.linalg.eigh(0.5 * (learned + learned.T))
        information = np.zeros((ORDER * n + m, ORDER * n + m))
        information[ORDER * n :, ORDER * n :] = (vector * np.maximum(value, 0.0)) @ vector.T
        return information

    def _empty(self, x: np.ndarray, reference: np.ndarray, slow: np.ndarray) -> Window:
        options = self.options
        return empty_window(options.knots, options.frames, x, reference, camera_arrays(self.cameras), self.layout.n_keypoints, self._prior, slow)

    def corrected_cameras(self, states: np.ndarray | None = None) -> list[Camera]:
        """The cameras with the corrections estimated so far, or with others' `states` (7 C,)."""
        if not (self.layout.n_cameras and self.config.refine.cameras):
            return list(self.cameras)
        states = (self.slow.mean[self.layout.cameras] if states is None else states).reshape(-1, CAMERA_STATES)
        out = []
        for camera, state in zip(self.cameras, states, strict=True):
            rotation = rotation_vector_matrix(state[:3]) @ camera.rotation
            out.append(replace(camera, rotation=rotation, translation=-rotation @ (camera.centre + state[3:6])))
        return out

    # --- frames -----------------------------------------------------------------------------------------------------------------------------------

    def start(self, stamp_ns: int, views: Views, points: np.ndarray) -> PoseEstimate | None:
        """Place the body on triangulated points (K, 3) and settle it on the frame. None, and no track, when it does not fit."""
        usable = np.isfinite(points).all(1)
        if usable.sum() < self.config.track.min_start_keypoints:
            return None
        with jax.default_device(self._device):
            found = jax.device_get(self._starter.find(np.float32(np.where(usable[:, None], points, 0.0)), np.float32(usable)))
            if not np.isfinite(found.x).all() or found.error_m > MAX_START_ERROR_M:
                return None
            slow = self.slow.mean.copy()
            if np.allclose(slow[self.layout.scales], self._prior.mean[self.layout.scales]) and not self._prior.mean[self.layout.scales].any():
                slow[self.layout.scales] = found.scales if self.config.refine.scales else 0.0
            if self.layout.has_floor and not self._floor_known:
                slow[self.layout.floor.start] = found.soles[:, 2].min()
            window = self._empty(found.x, found.reference, slow)
            if not self._cameras_released:
                window = window._replace(prior=_float32(self._held_prior()))
            anchor = np.concatenate([window.head.anchor[: -self.layout.size], self.slow.mean])
            self.window = window._replace(head=window.head._replace(information=self._learned(), anchor=anchor))
        self._start_ns = stamp_ns - round((self.options.knots - 3.5) * self._spacing_ns)
        self.frames = 0
        newest, _, result = self.take(stamp_ns, views, Status.OK, np.zeros(len(self.cameras)), self.config.window.start_iterations, START_WIDEN)
        errors = result.frames.error_px[0][views.confidence > 0]
        if newest is None or np.median(errors) > self.config.track.lost_rms_px:
            self.drop()
            return None
        return newest

    def take(
        self, stamp_ns: int, views: Views, status: Status, delay_s: np.ndarray, iterations: int | None = None, widen: float = 1.0
    ) -> tuple[PoseEstimate | None, PoseEstimate | None, Result]:
        """Take one frame; returns the causal and the smoothed estimate (None before the lag is filled) and the solver's arrays."""
        assert self.window is not None
        with jax.default_device(self._device):
            self._join()
            while self._place(stamp_ns) >= self.options.knots - 3:
                self.window = self.solver.shift(self.window)
                self._start_ns += round(self._spacing_ns)
            used = views.confidence > 0
            information, share = self.noise.information(views.confidence), self.noise.share(self._step_s())
            if iterations is None:
                iterations = self.config.window.iterations if self.frames >= self.options.frames else max(GROWING_ITERATIONS, self.config.window.iterations)
            if not self._cameras_released and self.frames >= START_HOLD_S * self._frame_rate_hz:
                self.window, self._cameras_released = self.window._replace(prior=_float32(self._prior)), True
            self._seen.append(self._describe(stamp_ns, status, views))
            self._views.append(views)
            self.frames += 1
            late = self.options.frames - 1 - self.lag_frames
            frame = _frame(np.where(used[..., None], views.xy, 0.0), information, delay_s, share, self._place(stamp_ns), late)
            settled = iterations == 1 and self.frames > max(self.options.frames, SLOW_START_S * self._frame_rate_hz)
            if settled and self._share is not None and stamp_ns - self._slow_ns < SLOW_STEP_S * 1e9:
                result = self._advance_held(frame)
            else:
                result, self._slow_ns = self._advance(frame, iterations, widen), stamp_ns
        if not (np.isfinite(result.frames.x).all() and np.isfinite(result.slow).all()):
            # The slow states are kept as they were before this frame.
            self.drop()
            return None, None, result
        if self._slow_ns == stamp_ns:
            assert self._share is not None
            self.slow, self._floor_known = SlowEstimate(np.asarray(result.slow, float), np.asarray(self._share.slow, float)), True
            self._learn_spread()
        lagged = self._seen[late]
        if lagged is not None and lagged.stamp_ns < self._start_ns:
            lagged = None
        self._shift_ahead(stamp_ns)
        self._pixels = [*self._pixels[-1:], (stamp_ns, np.array(result.frames.uv[0]), result.frames.keypoints[0])]
        if lagged is not None:
            seen = self._views[-1 - self.lag_frames]
            self.noise.observe(lagged.stamp_ns, seen.xy - result.frames.uv[1], seen.confidence)
        newest = self._estimate(result, 0, self._seen[-1], stamp_ns)
        assert newest is not None
        return newest, self._estimate(result, 1, lagged, stamp_ns), result

    def rest(self) -> list[PoseEstimate]:
        """Smoothed estimates of the frames that are still within the lag; at the end of a recording or a track."""
        if self.window is None:
            return []
        self._join()
        out = []
        newest_ns = self._seen[-1].stamp_ns if self._seen[-1] else 0
        cameras, k = len(self.cameras), self.layout.n_keypoints
        for slot in range(self.options.frames - self.lag_frames, self.options.frames):
            seen = self._seen[slot]
            if seen is None or seen.stamp_ns < self._start_ns:
                continue
            with jax.default_device(self._device):
                result = self._advance(_frame(np.zeros((cameras, k, 2)), np.zeros((cameras, k)), np.zeros(cameras), 1.0, -1.0, slot), 1, 1.0)
            estimate = self._estimate(result, 1, seen, newest_ns)
            if estimate is not None and np.isfinite(estimate.position).all():
                out.append(estimate)
        return out

    def predicted_pixels(self, stamp_ns: int) -> np.ndarray:
        """(C, K, 2) px where the keypoints should be, by constant velocity in the image."""
        newest_ns, uv, _ = self._pixels[-1]
        if len(self._pixels) < 2:
            return uv
        before_ns, before, _ = self._pixels[-2]
        ahead = min((stamp_ns - newest_ns) / max(newest_ns - before_ns, 1), 5.0)
        return uv + ahead * (uv - before)

    def compile(self) -> None:
        """Run every compiled function once on the real shapes, side by side."""
        cameras, k = len(self.cameras), self.layout.n_keypoints
        pose = (np.zeros(self.body.mj_model.nv), np.eye(3), self.slow.mean)

        def find() -> None:
            with jax.default_device(self._device):
                jax.block_until_ready(self._starter.find(np.float32(self._starter.template), np.ones(k, np.float32)))

        def shift() -> None:
            with jax.default_device(self._device):
                self.solver.shift(self._empty(*pose))

        frame = _frame(np.zeros((cameras, k, 2)), np.zeros((cameras, k)), np.zeros(cameras), 1.0, self.options.knots - 3.5, 0)

        def held() -> None:
            with jax.default_device(self._device):
                self.solver.advance_held(self._empty(*pose), frame, self._no_share())

        with ThreadPoolExecutor(3) as pool:
            others = [pool.submit(task) for task in (held, shift, find)]
            with jax.default_device(self._device):
                self.window = self._empty(*pose)
                self._advance(frame, 1, 1.0)
            for other in others:
                other.result()
        self.drop()

    # --- small parts --------------------------------------------------------------------------------------------------------------------------------

    def _place(self, stamp_ns: int) -> float:
        """In knot spacings since the window's start."""
        return (stamp_ns - self._start_ns) / self._spacing_ns

    def _advance(self, frame: Frame, iterations: int, widen: float) -> Result:
        self.window, result, self._share = self.solver.advance(self.window, frame, np.int32(iterations), np.float32(widen))
        return jax.device_get(result)

    def _advance_held(self, frame: Frame) -> Result:
        self.window, result = self.solver.advance_held(self.window, frame, self._share)
        return jax.device_get(result)

    def _no_share(self) -> SlowShare:
        n, m = self.body.mj_model.nv, self.layout.size
        return SlowShare(*(np.zeros(shape, np.float32) for shape in ((2, n, n), (2, n, m), (m, m))))

    def _shift_ahead(self, stamp_ns: int) -> None:
        """Begin to move the window on now if the next frame is expected beyond its last knot: its time is then not lost."""
        if self._place(stamp_ns + round(self._step_s() * 1e9)) < self.options.knots - 3 - JITTER_PLACES:
            return
        window, device = self.window, self._device

        def shift() -> Window:
            with jax.default_device(device):
                return self.solver.shift(window)

        self._start_ns += round(self._spacing_ns)
        self._shifting = between_frames(shift)

    def _join(self) -> None:
        """Wait for a shift that was begun ahead."""
        if self._shifting is not None:
            self.window, self._shifting = self._shifting.result(), None

    def _step_s(self) -> float:
        """Time from the frame before the newest to the newest."""
        seen = [s.stamp_ns for s in list(self._seen)[-2:] if s is not None]
        return max(seen[1] - seen[0], 1) * 1e-9 if len(seen) == 2 else 1 / self._frame_rate_hz

    def _describe(self, stamp_ns: int, status: Status, views: Views) -> Seen:
        names = [camera.name for camera in self.cameras]
        used = tuple(n for n, s in zip(names, views.seen, strict=True) if s)
        return Seen(stamp_ns, status, views.confidence, used, tuple(n for n in names if n not in used))

    def _estimate(self, result: Result, index: int, seen: Seen | None, newest_ns: int) -> PoseEstimate | None:
        if seen is None:
            return None
        return pose_estimate(self.body, self.mapped, result.frames, index, seen, (newest_ns - seen.stamp_ns) * 1e-9, self._placement)


def _frame(xy: np.ndarray, information: np.ndarray, delay_s: np.ndarray, share: float, u: float, late: int) -> Frame:
    return Frame(np.float32(xy), np.float32(information), np.float32(delay_s), np.float32(share), np.float32(u), np.int32(late))


def _without(head: Head, states: np.ndarray, own: np.ndarray, mean: np.ndarray) -> Head:
    """The head with some slow states marginalised out, whose own prior has information `own` and this mean; nothing is known of them then, from 0 on."""
    rest = np.setdiff1d(np.arange(len(head.vector)), states)
    information, vector, anchor = (np.array(a, float) for a in head)
    block = information[np.ix_(states, states)] + np.diag(own)
    gain = np.linalg.solve(block, information[np.ix_(states, rest)]).T
    information[np.ix_(rest, rest)] -= gain @ information[np.ix_(states, rest)]
    vector[rest] -= gain @ (vector[states] + own * (mean - anchor[states]))
    information[states], information[:, states], vector[states], anchor[states] = 0.0, 0.0, 0.0, 0.0
    return Head(information, vector, anchor)


def _float32(prior: SlowPrior) -> SlowPrior:
    return SlowPrior(np.float32(prior.mean), np.float32(prior.precision))
