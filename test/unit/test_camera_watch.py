"""Cameras that do not fit: left out of the frame, then out, then found again; and what is a misfit and what is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from core_example import ring

from biomech_fit.core.camera import Camera
from biomech_fit.core.estimates import CameraFit
from biomech_fit.sim.cameras import perturbed
from biomech_fit.stream.association import Views
from biomech_fit.stream.camera_watch import BACK_S, CONFIRM_S, MISFIT, OUT_S, CameraWatch, Sighting, judge, misfits_at_start, without
from biomech_fit.stream.lag import HALF_S, LAG_S, lag_sums
from biomech_fit.stream.lean import PARTS_S, leans
from biomech_fit.stream.shared_cameras import CameraBelief

CAMERAS = ring(4)
K, SIGMA, STEP_S = 26, 4.0, 1 / 30


def points(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform((-0.8, -0.5, 0.1), (0.8, 0.5, 1.7), (K, 3))


def views_of(cameras: list[Camera], body: np.ndarray, rng: np.random.Generator) -> Views:
    xy = np.stack([c.project(body) for c in cameras]) + SIGMA * rng.standard_normal((len(cameras), K, 2))
    return Views(xy, np.full((len(cameras), K), 0.9), np.zeros(len(cameras), int))


def sighting(true: list[Camera], thought: list[Camera], rng: np.random.Generator, lag_s: np.ndarray) -> Sighting:
    body, speed = points(rng), 1.2 * rng.standard_normal((K, 3))
    views, sigma = views_of(true, body, rng), np.full((len(true), K), SIGMA)
    predicted = np.stack([c.project(body) for c in thought])
    speed_px_s = np.stack([(c.project(body + 0.01 * speed) - c.project(body)) / 0.01 for c in thought])
    views = replace(views, xy=views.xy + lag_s[:, None, None] * speed_px_s)
    judged, misfits = judge(views, predicted, sigma, MISFIT)
    seen, error_px = views.confidence > 0, views.xy - predicted
    lean, lag = leans(error_px, sigma, seen, judged), lag_sums(error_px, speed_px_s, sigma, seen)
    return Sighting(np.broadcast_to(body, (len(true), K, 3)), views.xy, sigma, judged, misfits, lean, lag)


class Rig:
    """A watch, and the cameras as it is told and as they stand."""

    def __init__(self, estimate: bool = True):
        self.watch, self.rng = CameraWatch(len(CAMERAS), estimate), np.random.default_rng(0)
        self.true, self.thought, self.now_s, self.lag_s = list(CAMERAS), list(CAMERAS), 1.0, np.zeros(len(CAMERAS))

    def run(self, seconds: float) -> list[int]:
        """Cameras that were found anew."""
        found = []
        for _ in range(round(seconds / STEP_S)):
            self.now_s += STEP_S
            for c, camera in self.watch.look(round(self.now_s * 1e9), [sighting(self.true, self.thought, self.rng, self.lag_s)], lambda: self.thought).items():
                self.thought[c] = camera
                found.append(c)
        return found


@pytest.fixture
def rig() -> Rig:
    return Rig()


def moved(camera: Camera) -> Camera:
    return perturbed([camera], np.random.default_rng(7), np.radians(2.0), 0.1)[0]


def test_a_moved_camera_is_out_and_then_found(rig: Rig) -> None:
    assert rig.run(1.0) == [] and set(rig.watch.fits) == {CameraFit.FINE}
    rig.true[2] = moved(CAMERAS[2])
    assert rig.run(OUT_S + 2 * STEP_S) == [] and list(np.flatnonzero(rig.watch.out)) == [2]
    assert rig.run(CONFIRM_S) == [2]
    assert rig.watch.fits == (CameraFit.FINE, CameraFit.FINE, CameraFit.MOVED, CameraFit.FINE)
    # Six numbers from N = 400 points of 4 px: where the body is, pixels are known to 4 sqrt(6 / 2N) = 0.35 px per axis. The camera moved by some 60.
    body = points(rig.rng)
    assert np.linalg.norm(rig.thought[2].project(body) - rig.true[2].project(body), axis=1).mean() < 1.5
    assert rig.run(2.0) == []
    rig.watch.forget()
    assert set(rig.watch.fits) == {CameraFit.FINE}


def test_without_refinement_it_stays_out(rig: Rig) -> None:
    rig = Rig(estimate=False)
    rig.true[1] = moved(CAMERAS[1])
    assert rig.run(3.0) == [] and rig.watch.fits[1] == CameraFit.LEFT_OUT
    # Somebody puts it back.
    rig.true[1] = CAMERAS[1]
    rig.run(BACK_S + 2 * STEP_S)
    assert rig.watch.fits[1] == CameraFit.FINE


def test_what_no_pose_explains_stays_out(rig: Rig) -> None:
    """Another lens: half the focal length is no motion of the camera within reach."""
    matrix = CAMERAS[3].matrix.copy()
    matrix[0] *= 0.6
    rig.true[3] = replace(CAMERAS[3], matrix=matrix)
    assert rig.run(2.0) == [] and rig.watch.fits[3] == CameraFit.LEFT_OUT


def test_a_moment_is_no_move(rig: Rig) -> None:
    rig.true[0] = moved(CAMERAS[0])
    assert rig.run(0.5 * OUT_S) == []
    rig.true[0] = CAMERAS[0]
    assert rig.run(1.0) == [] and not rig.watch.out.any()


def pushed(camera: Camera, by: float = 1.0) -> Camera:
    """Turned by 0.4 degrees and moved by 15 mm (times `by`): some 10 px, too little for a misfit."""
    return perturbed([camera], np.random.default_rng(8), by * np.radians(0.4), by * 0.015)[0]


def test_a_pushed_camera_begins_anew_and_stays_in(rig: Rig) -> None:
    assert rig.run(2.0) == []
    rig.true[1] = pushed(CAMERAS[1])
    assert rig.run(0.6 * PARTS_S[0]) == [] and rig.run(0.4) == [1]
    assert rig.watch.fits[1] == CameraFit.PUSHED and not rig.watch.out.any()
    # From where it was thought to stand, and once: it leans on, since nothing is fitted here, but no more than before.
    assert rig.thought[1] is CAMERAS[1] and rig.run(3.0) == []
    rig.watch.forget()
    assert rig.watch.fits[1] == CameraFit.FINE


@pytest.mark.parametrize("estimate", [True, False])
def test_what_is_no_push(estimate: bool) -> None:
    """A moment; a drift; all cameras at once; and nothing is said where nothing may be estimated."""
    rig = Rig(estimate)
    rig.run(1.5)
    if not estimate:
        rig.true[1] = pushed(CAMERAS[1])
        assert rig.run(2.0) == [] and set(rig.watch.fits) == {CameraFit.FINE}
        return
    rig.true[1] = pushed(CAMERAS[1])
    rig.run(0.2)
    rig.true[1] = CAMERAS[1]
    assert rig.run(2.0) == []
    for by in np.linspace(0, 1, 40):
        rig.true[1] = pushed(CAMERAS[1], by)
        assert rig.run(0.1) == []
    rig = Rig()
    rig.run(1.5)
    rig.true = [replace(c, translation=c.translation + np.array([0.03, 0.0, 0.0])) for c in CAMERAS]
    assert rig.run(2.0) == [] and set(rig.watch.fits) == {CameraFit.FINE}


def test_a_camera_whose_clock_is_set_begins_anew(rig: Rig) -> None:
    assert rig.run(2.0) == []
    rig.lag_s[3] = 0.6 * LAG_S
    assert rig.run(2.0) == []
    rig.lag_s[3] = 2 * LAG_S
    assert rig.run(HALF_S) == [] and rig.run(HALF_S + 0.1) == [3] and rig.watch.fits[3] == CameraFit.PUSHED


def test_the_lean_is_a_median_of_what_is_seen() -> None:
    error, sigma = np.zeros((2, 7, 2)), np.full((2, 7), 2.0)
    error[:, :, 0], error[0, 6] = [[-2, 0, 2, 4, 6, 8, 1e3]], np.nan
    seen = np.ones((2, 7), bool)
    seen[0, 6] = False
    got = leans(error, sigma, seen, np.array([True, False]))
    np.testing.assert_array_equal(got[0], [1.0, 0.0])  # of six, the lower of two middle ones
    assert np.isnan(got[1]).all()


def test_judgement() -> None:
    """Only the camera that is off; none when all are off alike, when two cameras disagree, or when too little is seen."""
    rng = np.random.default_rng(1)
    body = points(rng)
    views, sigma, predicted = views_of(CAMERAS, body, rng), np.full((4, K), SIGMA), np.stack([c.project(body) for c in CAMERAS])
    off = predicted.copy()
    off[1] += 40.0
    assert list(judge(views, off, sigma, MISFIT)[1]) == [False, True, False, False]
    assert not judge(views, predicted, sigma, MISFIT)[1].any() and not judge(views, predicted + 40.0, sigma, MISFIT)[1].any()
    two = without(views, np.array([False, False, True, True]))
    judged, misfits = judge(two, off, sigma, MISFIT)
    assert list(judged) == [True, True, False, False] and not misfits.any()
    few = Views(views.xy, views.confidence.copy(), views.taken)
    few.confidence[1, 5:] = 0.0
    judged, misfits = judge(few, off, sigma, MISFIT)
    assert not judged[1] and not misfits.any()
    assert not judge(views, np.full_like(predicted, np.nan), sigma, MISFIT)[0].any()


def test_a_start_with_a_camera_that_is_far_off() -> None:
    """Found among four and among eight; where all are somewhat off, as calibrations are, and where one of three is, nobody is accused."""
    body = points(np.random.default_rng(3))

    def accused(cameras: list[Camera], thought: list[Camera]) -> list[int]:
        views = views_of(cameras, body, np.random.default_rng(4))
        return list(np.flatnonzero(misfits_at_start(thought, views, np.full(views.confidence.shape, SIGMA))))

    for count in (4, 8):
        cameras = ring(count)
        thought = [*cameras]
        thought[1] = replace(cameras[1], translation=cameras[1].translation + np.array([0.2, 0.0, 0.0]))
        assert accused(cameras, thought) == [1] and accused(cameras, cameras) == []
        for seed in range(3):
            assert accused(cameras, perturbed(cameras, np.random.default_rng(seed), np.radians(0.5), 0.02)) == []
    assert accused(cameras[:3], thought[:3]) == []


def test_what_is_forgotten_of_a_camera_stays_in_what_it_told_of_others() -> None:
    """Marginalisation: the others' mean and covariance are what they were."""
    rng = np.random.default_rng(5)
    root = rng.standard_normal((14, 14))
    belief = CameraBelief.of(rng.standard_normal(14), root @ root.T + np.eye(14))
    states = np.arange(3, 9)
    rest = np.setdiff1d(np.arange(14), states)
    (mean, covariance), less = belief.moments(), belief.forgetting(states)
    assert not less.information[states].any() and not less.vector[states].any()
    np.testing.assert_allclose(np.linalg.inv(less.information[np.ix_(rest, rest)]), covariance[np.ix_(rest, rest)], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.linalg.solve(less.information[np.ix_(rest, rest)], less.vector[rest]), mean[rest], rtol=1e-9)
