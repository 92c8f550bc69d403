"""Who is the tracked person in each camera: cleaning, following, finding."""

from __future__ import annotations

import numpy as np
import pytest
from core_example import ring

from biomech_fit.core.types import KeypointPacket
from biomech_fit.stream.association import Views, cleaned, find_person, follow

K = 12
CAMERAS = ring(4)


def packet(xy: np.ndarray, confidence: np.ndarray) -> KeypointPacket:
    return KeypointPacket("cam0", 0, np.float32(xy), np.float32(confidence), np.full(len(xy), -1, np.int32))


def someone(seed: int, place: tuple[float, float, float]) -> np.ndarray:
    """(K, 3) m: points of somebody about a place."""
    return np.array(place) + np.random.default_rng(seed).uniform(-0.4, 0.4, (K, 3))


def detections(people: list[np.ndarray], rng: np.random.Generator, noise_px: float = 2.0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each camera's people in random order."""
    out = []
    for camera in CAMERAS:
        order = rng.permutation(len(people))
        xy = np.stack([camera.project(people[p]) for p in order]) + noise_px * rng.standard_normal((len(people), K, 2))
        out.append((xy, np.where(np.isfinite(xy[..., 0]), 0.9, 0.0)))
    return out


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, -np.inf, 0.0, 0.05])
def test_bad_confidences_count_as_missing(bad: float) -> None:
    confidence = np.full((2, K), 0.8)
    confidence[1, 3] = bad
    xy, found = cleaned(packet(np.ones((2, K, 2)), confidence), np.ones(K, bool), 0.1)
    assert found[1, 3] == 0 and np.isnan(xy[1, 3]).all()
    assert np.all(np.delete(found.ravel(), K + 3) == np.float32(0.8)) and np.isfinite(np.delete(xy.reshape(-1, 2), K + 3, 0)).all()


def test_bad_coordinates_count_as_missing_and_large_confidences_as_one() -> None:
    xy = np.ones((1, K, 2))
    xy[0, 0] = np.nan
    xy[0, 1, 1] = np.inf
    found_xy, confidence = cleaned(packet(xy, np.full((1, K), 7.0)), np.ones(K, bool), 0.1)
    assert list(confidence[0, :3]) == [0, 0, 1] and np.isnan(found_xy[0, :2]).all()
    used = np.arange(K) % 2 == 0
    assert cleaned(packet(xy, np.ones((1, K))), used, 0.0)[0].shape == (1, K // 2, 2)
    assert cleaned(packet(np.zeros((0, K, 2)), np.zeros((0, K))), used, 0.0)[1].shape == (0, K // 2)


def test_follow_takes_the_nearest_within_the_gate() -> None:
    rng = np.random.default_rng(0)
    man, stranger = someone(1, (0, 0, 1)), someone(2, (0.7, 0.6, 1))
    people = detections([man, stranger], rng)
    predicted = np.stack([camera.project(man + 0.02) for camera in CAMERAS])
    views = follow(people, predicted, 60.0)
    assert views.seen.all()
    for c, camera in enumerate(CAMERAS):
        assert np.abs(views.xy[c] - camera.project(man)).max() < 12
    assert not follow(people, predicted + 1000, 60.0).seen.any()
    nobody: list = [None, (np.zeros((0, K, 2)), np.zeros((0, K))), people[2], (np.full((1, K, 2), np.nan), np.zeros((1, K)))]
    assert list(follow(nobody, predicted, 60.0).seen) == [False, False, True, False]


def test_follow_needs_three_points_of_a_person() -> None:
    """One stray point near the prediction is nobody."""
    predicted = np.stack([camera.project(someone(1, (0, 0, 1))) for camera in CAMERAS])
    xy, confidence = predicted[:1].copy(), np.zeros((1, K))
    confidence[0, :2] = 0.9
    people = [(np.where(confidence[..., None] > 0, xy, np.nan), confidence), None, None, None]
    assert not follow(people, predicted, 60.0).seen.any()


@pytest.mark.filterwarnings("ignore:All-NaN slice")
def test_a_prediction_that_is_no_number_matches_nobody() -> None:
    people = detections([someone(1, (0, 0, 1))], np.random.default_rng(0))
    assert not follow(people, np.full((4, K, 2), np.nan), 60.0).seen.any()


def test_find_takes_the_person_whom_all_cameras_see() -> None:
    """Strangers of whom two cameras each have another one; the order of people differs from camera to camera."""
    rng = np.random.default_rng(3)
    man = someone(1, (0.1, 0.2, 1.0))
    people = detections([man], rng)
    for c in range(4):  # somebody else in every camera, not the same body
        xy = CAMERAS[c].project(someone(10 + c, (-0.9 + 0.4 * c, 0.8 - 0.5 * c, 1.1)))[None]
        both = np.concatenate([xy, people[c][0]] if c % 2 else [people[c][0], xy])
        people[c] = (both, np.where(np.isfinite(both[..., 0]), 0.9, 0.0))
    views, points = find_person(CAMERAS, people)
    assert views.seen.all()
    assert np.median(np.linalg.norm(points - man, axis=1)) < 0.01
    for c, camera in enumerate(CAMERAS):
        assert np.median(np.linalg.norm(views.xy[c] - camera.project(man), axis=1)) < 5


def test_find_needs_two_cameras_that_agree() -> None:
    rng = np.random.default_rng(4)
    people = detections([someone(1, (0, 0, 1))], rng)
    assert find_person(CAMERAS, [people[0], None, None, None]) is None
    assert find_person(CAMERAS, [None] * 4) is None
    empty = (np.zeros((0, K, 2)), np.zeros((0, K)))
    assert find_person(CAMERAS, [empty] * 4) is None
    other = detections([someone(7, (0.5, -0.4, 1.6))], rng)  # of another height: cameras at a right angle can tell
    assert find_person(CAMERAS, [people[0], other[1], None, None]) is None
    views, points = find_person(CAMERAS, [people[0], people[1], None, empty])
    assert list(views.seen) == [True, True, False, False] and np.isfinite(points).all()


def test_an_empty_view_sees_nothing() -> None:
    views = Views.empty(3, K)
    assert not views.seen.any() and views.xy.shape == (3, K, 2)
