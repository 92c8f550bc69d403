"""One person's track: starts it, feeds the window solver frame by frame, and keeps the slow states when the person is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache

import jax
import numpy as np

from biomech_fit.config.fit import FitConfig
from biomech_fit.core.body import BodyModel
from biomech_fit.core.camera import Camera
from biomech_fit.core.initial import PoseStarter
from biomech_fit.core.keypoint_noise import KeypointNoise
from biomech_fit.core.marginal import without_states
from biomech_fit.core.point_residuals import PointCosts
from biomech_fit.core.projection import camera_arrays
from biomech_fit.core.readout import Seen, pose_estimates
from biomech_fit.core.residuals import CAMERA_STATES
from biomech_fit.core.result import Readout, Result
from biomech_fit.core.solver import Frame, Held, WindowSolver
from biomech_fit.core.types import PoseEstimate, Status
from biomech_fit.core.window import ORDER, Window, empty_window
from biomech_fit.stream.association import Views
from biomech_fit.stream.between import BetweenFrames
from biomech_fit.stream.camera_estimate import corrected
from biomech_fit.stream.device import on_host
from biomech_fit.stream.lag_buffer import LagBuffer
from biomech_fit.stream.medians import misses
from biomech_fit.stream.noise import DetectorNoise
from biomech_fit.stream.noise_model import noise_before
from biomech_fit.stream.pixel_motion import PixelMotion
from biomech_fit.stream.slow_pace import SlowPace
from biomech_fit.stream.slow_states import BodyPrior, SlowEstimate, SlowStates
from biomech_fit.stream.solver_options import solver_options

START_WIDEN = 8.0
MORE_ITERATIONS = 2
"""Gauss-Newton steps per frame until the window is full, since the slow states still move."""
FAR = 0.65
"""Knot spacings from frame to frame; beyond it one step from the continued motion is not enough for a fast leg, and the newest poses approach the frame
first. 50 Hz is within it, where a second step changes nothing; 30 Hz is not."""
MAX_START_ERROR_M = 0.25
"""Median distance of triangulated keypoints from the first pose; beyond it they are not one person's."""
SLOW_START_S = 2.0
"""When a track is older, its slow states are held on most frames, see `SlowPace`."""
JITTER_PLACES = 0.05
"""A frame expected so little (knot spacings) before the window's end is taken for one beyond it."""
NEXT_FRAME = 1.5
"""Steps from frame to frame within which the next one comes."""
START_HOLD_S = 1.0
"""The cameras of a rig that has seen nobody yet are released after so long."""

# Compiled once for all people and pipelines of one body, whatever their calibration.
_shared_solver = lru_cache(maxsize=4)(WindowSolver)
_shared_starter = lru_cache(maxsize=4)(PoseStarter)


class PersonTracker:
    """Solver state of one person. `body` has only keypoints that the model knows; `mapped` (K_set,) says where they are in the detector's set."""

    def __init__(
        self,
        body: BodyModel,
        mapped: np.ndarray,
        cameras: list[Camera],
        config: FitConfig,
        frame_rate_hz: float,
        device: jax.Device,
        points: PointCosts | None = None,
        pose_memory_s: float | None = None,
    ):
        self.body, self.mapped, self.config = body, mapped, config
        self._device = device
        options = solver_options(config, frame_rate_hz, cameras, bool(body.foot_points), device.platform)
        self.options = replace(options, points=points, pose_memory_s=pose_memory_s)
        with jax.default_device(device):
            self.solver = _shared_solver(body, len(cameras), self.options)
            self._starter = _shared_starter(body)
        self.layout = self.solver.layout
        self.lag_frames = min(round(config.window.lag_s * frame_rate_hz), self.options.frames - 2)
        self._spacing_ns, self._frame_rate_hz = self.options.spacing_s * 1e9, frame_rate_hz
        self._always_far = config.window.iterations == 1 and 1 / frame_rate_hz > FAR * self.options.spacing_s
        self._shifting: BetweenFrames[Window] | None = None
        self.states = SlowStates(body, self.layout, cameras, config)
        self._known_noise: KeypointNoise | None = None
        self.forget()

    # --- slow states ------------------------------------------------------------------------------------------------------------------------------

    @property
    def cameras(self) -> list[Camera]:
        """The rig as it is thought to stand, without the corrections that are estimated."""
        return self.states.cameras

    @property
    def slow(self) -> SlowEstimate:
        """The slow states, kept from track to track."""
        return self.states.estimate

    def set_subject(self, body: BodyPrior) -> None:
        """Take a known body, see `SlowStates.set_subject`, and drop the track."""
        self.states.set_subject(body)
        self.drop()

    def set_anybody(self, body: BodyPrior, noise: KeypointNoise | None) -> None:
        """Take what is to be expected of anybody, and of the detector; forget the track and what it learned of the body and the detector."""
        self.states.set_anybody(body)
        self._known_noise = noise
        self._forget_detector()

    def clear_subject(self) -> None:
        """Know no more of the body than of anybody's, and drop the track. The cameras' corrections are kept."""
        self.states.clear_subject()
        self.drop()

    def forget(self) -> None:
        """Drop the track and what it learned of the body and of the cameras."""
        self.states.forget()
        self._forget_detector()

    def _forget_detector(self) -> None:
        before = noise_before(self.config.noise, len(self.cameras), self.body.keypoint_names, self._known_noise)
        self.noise = DetectorNoise(self.config.noise, before)
        self.drop()

    def restore_cameras(self) -> None:
        """All cameras are where they were loaded; what was learned of them and of the body is forgotten."""
        self.states.restore_cameras()
        self._forget_detector()

    def move_camera(self, c: int, camera: Camera, states: np.ndarray) -> None:
        """Take camera c to stand elsewhere from now on: it begins anew from there with its own prior, and what was known of its pose and clock is forgotten.

        What these told of all else is kept (it is marginalised out of the window's head); its frames in the window no longer count. The rig as a
        whole stays where the other cameras' `states` (7 C,) have it now, whatever camera c does.
        """
        assert self.layout.n_cameras
        own, had, before = self.states.move_camera(c, camera, states)
        self._join()
        if self.window is None:
            return
        self._held = None
        window, split = self.window, ORDER * self.body.mj_model.nv
        head = without_states(window.head, split + own, had, before)
        information, state = np.array(window.observed.information), np.array(window.slow)
        information[:, c], state[own[:-1]] = 0.0, 0.0
        with jax.default_device(self._device):
            arrays = type(window.cameras)(*(np.array(a) for a in camera_arrays(self.cameras)))
        observed = window.observed._replace(information=information)
        self.window = window._replace(cameras=arrays, slow=state, prior=self.states.solver_prior(), head=head, rounded=None, observed=observed)
        self._pace.begin(self._recent.newest_ns)
        self._pixels.see_anew(c, camera)

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
        self._held: Held | None = None
        self._pace = SlowPace()
        self._recent = LagBuffer(self.options.frames, self.config.window.lag_s, 1 / self._frame_rate_hz)
        self._pixels = PixelMotion()
        self.frames = 0

    def _empty(self, x: np.ndarray, reference: np.ndarray, slow: np.ndarray) -> Window:
        options = self.options
        prior = self.states.solver_prior()
        has_points = options.points is not None
        return empty_window(options.knots, options.frames, x, reference, camera_arrays(self.cameras), self.layout.n_keypoints, prior, slow, has_points)

    def corrected_cameras(self, states: np.ndarray | None = None) -> list[Camera]:
        """The cameras with the corrections estimated so far, or with others' `states` ((7 + L) C,)."""
        if not (self.layout.n_cameras and self.config.refine.cameras):
            return list(self.cameras)
        return corrected(self.cameras, self.slow.mean[self.layout.rig] if states is None else states)

    # --- frames -----------------------------------------------------------------------------------------------------------------------------------

    def start(self, stamp_ns: int, views: Views, points: np.ndarray, delay_s: np.ndarray) -> PoseEstimate | None:
        """Place the body on triangulated points (K, 3) and settle it on the frame. `delay_s` (C,): each camera's stamp minus the frame's. None, and no track,
        when it does not fit."""
        usable = np.isfinite(points).all(1)
        if usable.sum() < self.config.track.min_start_keypoints:
            return None
        with jax.default_device(self._device):
            found = jax.device_get(self._starter.find(np.float32(np.where(usable[:, None], points, 0.0)), np.float32(usable)))
            if not np.isfinite(found.x).all() or found.error_m > MAX_START_ERROR_M:
                return None
            layout, usual, slow = self.layout, self.states.prior.mean, self.slow.mean.copy()
            if np.allclose(slow[layout.scales], usual[layout.scales]) and not usual[layout.scales].any():
                slow[layout.scales] = found.scales if self.config.refine.scales else 0.0
            if layout.has_floor and not self.states.floor_known:
                slow[layout.floor.start] = found.soles[:, 2].min()
            window, m = self._empty(found.x, found.reference, slow), layout.size
            information, anchor = window.head.information, np.concatenate([window.head.anchor[:-m], self.slow.mean])
            information[-m:, -m:] = self.states.learned()
            self.window = window._replace(head=window.head._replace(information=information, anchor=anchor))
        self._start_ns = stamp_ns - round((self.options.knots - 3.5) * self._spacing_ns)
        self._pace.begin(stamp_ns)
        self.frames = 0
        before = self.states.kept()
        newest, _, result = self.take(stamp_ns, views, Status.OK, delay_s, self.config.window.start_iterations, START_WIDEN)
        if newest is None or self.is_off(result, views):
            # It was nobody, who tells nothing of body and cameras.
            self.states.restore(before)
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
            full = self.frames >= self.options.frames
            if not self.states.released and self.frames >= START_HOLD_S * self._frame_rate_hz:
                self.states.released = True
                self.window = self.window._replace(prior=self.states.solver_prior())
            self._recent.add(self._describe(stamp_ns, status, views), views)
            self.frames += 1
            late = self._recent.due(self._start_ns)
            share = self.noise.share(self._recent.step_s())
            frame = self._frame(views, delay_s, share, self._place(stamp_ns), 0 if late is None else late)
            far = self._recent.step_s() * 1e9 > FAR * self._spacing_ns
            holds = full and self.config.window.iterations == 1 and self._held is not None and self._held.fits(self.window)
            if holds and far:
                self.window, self._held = self._approach(frame)
                frame = self._blank(-1.0, int(frame.late))
            settled = self.frames > max(self.options.frames, SLOW_START_S * self._frame_rate_hz)
            held = holds and settled and not self._pace.due(stamp_ns)
            if held:
                result = self._advance_held(frame)
            else:
                if iterations is None:
                    iterations = max(self.config.window.iterations, 1 if full and (holds or not far) else MORE_ITERATIONS)
                result = self._advance(frame, iterations, widen)
                self._pace.stepped(stamp_ns)
        if not (np.isfinite(result.frames.x).all() and np.isfinite(result.slow).all()):
            # The slow states are kept as they were before this frame.
            self.drop()
            return None, None, result
        if not held:
            assert self._held is not None
            self.states.observe(result.slow, self._held.share.slow)
            # Several people share what they find of the cameras, which counts one prior for all.
            if self.config.stream.max_people == 1 and self.states.learn_spread():
                self.window = self.window._replace(prior=self.states.solver_prior())
        self._pixels.add(stamp_ns, result.frames.uv[0], result.frames.keypoints[0])
        told = [self._recent[-1][0]]
        if late is not None:
            lagged, its_views = self._recent[late]
            self._learn_noise(lagged.stamp_ns, its_views, result)
            told.append(lagged)
        newest, *smoothed = self._estimates(self._readout(result), told, stamp_ns)
        self._shift_ahead(stamp_ns)
        return newest, smoothed[0] if smoothed else None, result

    def prepare(self) -> None:
        """Begin in the background what the next frame needs; to be called once this one's results are out."""
        self.noise.prepare()
        if self._shifting is not None:
            self._shifting.begin()

    def rest(self) -> list[PoseEstimate]:
        """Smoothed estimates of the frames that are still within the lag; at the end of a recording or a track."""
        if self.window is None:
            return []
        self._join()
        out = []
        for slot in self._recent.rest(self._start_ns):
            with jax.default_device(self._device):
                result = self._advance(self._blank(-1.0, slot), 1, 1.0)
            (estimate,) = self._estimates(self._readout(result).only(slice(1, 2)), [self._recent[slot][0]], self._recent.newest_ns)
            if np.isfinite(estimate.position).all():
                out.append(estimate)
        return out

    def overdue(self, seen_ns: int, stamp_ns: int) -> bool:
        """Whether somebody who was last seen then has been predicted for too long. Who was seen in the last frame has not, however far apart frames are."""
        return self.window is not None and (stamp_ns - seen_ns) * 1e-9 > max(self.config.track.predict_s, NEXT_FRAME * self._recent.step_s())

    def predict(self, stamp_ns: int) -> Readout | None:
        """A coming frame (index 0 of the arrays) as expected before anything of it is seen; None while the track is young. The track is not changed."""
        self._join()
        if self.window is None or self._held is None:
            return None
        window, passed = self.window, 0
        with jax.default_device(self._device):
            while self._place(stamp_ns) - passed >= self.options.knots - 3:
                window, passed = self.solver.shift(window), passed + 1
            frame = self._blank(self._place(stamp_ns) - passed, 0)
            own = jax.tree.map(np.array, window._replace(rounded=None))
            if self._held.fits(window):
                result = self.solver.advance_held(own, frame, self._held)[1]
            else:
                result = self.solver.advance(own, frame, 1, 1.0)[1]
            return jax.device_get(result.frames)

    def predicted_pixels(self, stamp_ns: int) -> np.ndarray:
        """(C, K, 2) px where the keypoints should be, by constant velocity in the image."""
        return self._pixels.at(stamp_ns)

    def pixel_speeds(self) -> np.ndarray:
        """(C, K, 2) px/s of the newest frame's keypoints, 0 where not known."""
        return self._pixels.speed()

    def compile(self) -> None:
        """Run every compiled function once on the real shapes."""
        k = self.layout.n_keypoints
        pose = (np.zeros(self.body.mj_model.nv), np.eye(3), self.slow.mean)

        frame = self._blank(self.options.knots - 3.5, 0)

        def first_half() -> None:
            with jax.default_device(self._device):
                self.window = self._empty(*pose)
                self._advance(frame, 1, 1.0)
                jax.block_until_ready(self._starter.find(np.float32(self._starter.template), np.ones(k, np.float32)))

        def second_half() -> None:
            with jax.default_device(self._device):
                window = self._empty(*pose)
                self.solver.advance_held(window, frame, self.solver.nothing_held(window))
                if self._always_far:
                    window = self._empty(*pose)
                    self.solver.approach(window, frame, self.solver.nothing_held(window))
                self.solver.shift(self._empty(*pose))

        # Two at a time: more only get in each other's way.
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(second_half)
            first_half()
            other.result()
        self.drop()

    # --- what is observed ---------------------------------------------------------------------------------------------------------------------------

    def is_off(self, result: Result, views: Views) -> bool:
        """Whether the newest body lies far from what was seen of it."""
        return misses(result.frames.error_px[0], views.confidence, self.config.track.lost_px)

    def _frame(self, views: Views, delay_s: np.ndarray, share: float, u: float, late: int) -> Frame:
        xy = np.where((views.confidence > 0)[..., None], views.xy, 0.0)
        return _frame(xy, self.noise.information(views.confidence), delay_s, share, u, late)

    def _blank(self, u: float, late: int) -> Frame:
        """A frame in which nothing is seen."""
        cameras, k = len(self.cameras), self.layout.n_keypoints
        return _frame(np.zeros((cameras, k, 2)), np.zeros((cameras, k)), np.zeros(cameras), 1.0, u, late)

    def _learn_noise(self, stamp_ns: int, views: Views, result: Result) -> None:
        """From the smoothed frame, which had these views."""
        self.noise.observe(stamp_ns, views.xy - result.frames.uv[1], views.confidence)

    # --- small parts --------------------------------------------------------------------------------------------------------------------------------

    def _place(self, stamp_ns: int) -> float:
        """In knot spacings since the window's start."""
        return (stamp_ns - self._start_ns) / self._spacing_ns

    def _approach(self, frame: Frame) -> tuple[Window, Held]:
        """Before the step of a frame that is far. At higher rates only frames after lost ones are, for whom it is not worth to compile the shorter way."""
        if self._always_far:
            return self.solver.approach(self.window, frame, self._held)
        window, _, held = self.solver.advance_held(self.window, frame, self._held)
        return window, held

    def _advance(self, frame: Frame, iterations: int, widen: float) -> Result:
        self.window, result, self._held = self.solver.advance(self.window, frame, iterations, widen)
        return on_host(result)

    def _advance_held(self, frame: Frame) -> Result:
        self.window, result, self._held = self.solver.advance_held(self.window, frame, self._held)
        return on_host(result)

    def _shift_ahead(self, stamp_ns: int) -> None:
        """Move the window on before the next frame if that is expected beyond its last knot."""
        if self._place(stamp_ns + round(self._recent.step_s() * 1e9)) < self.options.knots - 3 - JITTER_PLACES:
            return
        window, device = self.window, self._device

        def shift() -> Window:
            with jax.default_device(device):
                return self.solver.shift(window)

        self._start_ns += round(self._spacing_ns)
        self._shifting = BetweenFrames(shift)

    def _join(self) -> None:
        """Wait for a shift ahead."""
        if self._shifting is not None:
            self.window, self._shifting = self._shifting.result(), None

    def _describe(self, stamp_ns: int, status: Status, views: Views) -> Seen:
        names = [camera.name for camera in self.cameras]
        used = tuple(n for n, s in zip(names, views.seen, strict=True) if s)
        return Seen(stamp_ns, status, views.confidence, used, tuple(n for n in names if n not in used))

    def _readout(self, result: Result) -> Readout:
        """The frames of a result as they are told."""
        return result.frames

    def _estimates(self, frames: Readout, seen: list[Seen], newest_ns: int) -> list[PoseEstimate]:
        lags_s = [(newest_ns - frame.stamp_ns) * 1e-9 for frame in seen]
        return pose_estimates(self.body, self.mapped, frames, seen, lags_s, self.states.placement)


def _frame(xy: np.ndarray, information: np.ndarray, delay_s: np.ndarray, share: float, u: float, late: int) -> Frame:
    return Frame(np.float32(xy), np.float32(information), np.float32(delay_s), np.float32(share), np.float32(u), np.int32(late))
