"""Left and right confused by a detector: told from a body that is predicted, undone where it is clear, left alone where it is not."""

from __future__ import annotations

import numpy as np
import pytest
from core_example import ring

from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.formats.model import load_body_model
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.simulate import simulate
from biomech_fit.stream.association import Views
from biomech_fit.stream.swaps import SideSwaps

SET = load_keypoint_set("halpe_26")
BODY = load_body_model(None, SET)
MIRROR = np.array(SET.mirror)
SIGMA = 4.0
CAMERAS = ring(4)
LEGS = [k for k, name in enumerate(SET.names) if name[1:] in ("Knee", "Ankle", "Heel", "BigToe", "SmallToe")]
ARMS = [k for k, name in enumerate(SET.names) if name[1:] in ("Elbow", "Wrist")]
ALL = list(range(len(SET)))


@pytest.fixture(scope="module")
def walk() -> np.ndarray:
    """(T, K, 3) m: a person who walks to and fro, so that every camera sees front, back and sides."""
    return simulate(SimConfig(seconds=4.0, cameras=1, frame_rate_hz=30.0, seed=2)).truth.keypoints


@pytest.fixture
def sides() -> SideSwaps:
    return SideSwaps(BODY, SET.mirror, 4.0)


def projected(points: np.ndarray) -> np.ndarray:
    return np.stack([camera.project(points) for camera in CAMERAS])


def detected(predicted: np.ndarray, rng: np.random.Generator) -> Views:
    """Noise of 4 px, 5 % outliers of 16 px, 3 % missing."""
    shape = predicted.shape[:2]
    factor = np.where(rng.random(shape) < 0.05, 4.0, 1.0)
    xy = predicted + SIGMA * factor[..., None] * rng.standard_normal(predicted.shape)
    missing = rng.random(shape) < 0.03
    return Views(np.where(missing[..., None], np.nan, xy), np.where(missing, 0.0, 0.8), np.zeros(len(xy), int))


def swapped(views: Views, camera: int, keypoints: list[int]) -> Views:
    xy, confidence = views.xy.copy(), views.confidence.copy()
    xy[camera, keypoints], confidence[camera, keypoints] = views.xy[camera, MIRROR[keypoints]], views.confidence[camera, MIRROR[keypoints]]
    return Views(xy, confidence, views.taken)


def sigma(predicted: np.ndarray) -> np.ndarray:
    return np.full(predicted.shape[:2], SIGMA)


def test_nothing_is_undone_where_nothing_is_wrong(sides: SideSwaps, walk: np.ndarray) -> None:
    """480 views from all sides; 5 % outliers of four times the noise may cost a pair now and then."""
    rng, wrong, left_out = np.random.default_rng(0), 0, 0
    for points in walk:
        predicted = projected(points)
        views = detected(predicted, rng)
        undone = sides.undo(0, views, predicted, sigma(predicted))
        wrong += undone.exchanged.sum()
        left_out += ((views.confidence > 0) & (undone.views.confidence == 0)).sum()
    assert wrong == 0 and left_out < 0.002 * walk[..., 0].size * len(CAMERAS)


@pytest.mark.parametrize("keypoints", [ALL, LEGS, ARMS], ids=["whole", "legs", "arms"])
def test_a_limb_or_everything_is_put_right(sides: SideSwaps, walk: np.ndarray, keypoints: list[int]) -> None:
    """Where left and right are more than five standard deviations apart, 97 % are as they were (or left out); nothing else is touched."""
    rng, right, total = np.random.default_rng(1), 0, 0
    for t, points in enumerate(walk):
        predicted = projected(points)
        views, c = detected(predicted, rng), t % len(CAMERAS)
        got = sides.undo(0, swapped(views, c, keypoints), predicted, sigma(predicted)).views
        same = np.all(got.xy == views.xy, axis=-1) | (got.confidence == 0) | (views.confidence == 0)
        apart = np.linalg.norm(predicted[c] - predicted[c, MIRROR], axis=1) > 5 * SIGMA
        touched = np.isin(ALL, keypoints) & apart
        right, total = right + same[c, touched].sum(), total + touched.sum()
        assert same[np.arange(len(CAMERAS)) != c].all() and same[c, ~np.isin(ALL, keypoints) & apart].all()
    assert total > 300 and right > 0.97 * total


def test_a_single_pair(sides: SideSwaps, walk: np.ndarray) -> None:
    predicted = projected(walk[0])
    pair = [SET.names.index("LAnkle"), SET.names.index("RAnkle")]
    c = int(np.argmax(np.linalg.norm(predicted[:, pair[0]] - predicted[:, pair[1]], axis=1)))
    views = Views(predicted, np.ones(predicted.shape[:2]), np.zeros(len(predicted), int))
    undone = sides.undo(0, swapped(views, c, pair), predicted, sigma(predicted))
    np.testing.assert_array_equal(undone.views.xy, predicted)
    assert list(np.flatnonzero(undone.exchanged)) == [c]


def test_a_camera_that_was_moved_has_not_confused_anything(sides: SideSwaps, walk: np.ndarray) -> None:
    """Shifted by as much as the legs are apart, one leg lies on the other; a pair counts as one, so that nothing is exchanged."""
    for points in walk[::5]:
        predicted = projected(points)
        views = Views(predicted.copy(), np.ones(predicted.shape[:2]), np.zeros(len(predicted), int))
        for c in range(len(CAMERAS)):
            views.xy[c] += predicted[c, SET.names.index("LKnee")] - predicted[c, SET.names.index("RKnee")]
        assert not sides.undo(0, views, predicted, sigma(predicted)).exchanged.any()


def test_a_mirrored_body_is_told_once(sides: SideSwaps, walk: np.ndarray) -> None:
    """All cameras against it: for half a second the detectors are distrusted, then the body, and only once until they agree again."""
    predicted = projected(walk[0])
    straight = Views(predicted, np.ones(predicted.shape[:2]), np.zeros(len(predicted), int))
    crossed = Views(predicted[:, MIRROR], straight.confidence, straight.taken)

    def told(views: Views, first_s: float) -> list[bool]:
        return [sides.undo(round((first_s + 0.1 * i) * 1e9), views, predicted, sigma(predicted)).mirrored for i in range(10)]

    assert told(crossed, 0.0).index(True) == 6 and sum(told(crossed, 1.0)) == 0
    assert sum(told(straight, 2.0)) == 0 and sum(told(crossed, 3.0)) == 1


def test_unknown_predictions_and_absent_views(sides: SideSwaps) -> None:
    nothing = Views.empty(4, len(SET))
    undone = sides.undo(0, nothing, np.full((4, len(SET), 2), np.nan), np.full((4, len(SET)), SIGMA))
    assert undone.views is nothing and not undone.exchanged.any()
