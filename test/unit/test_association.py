"""Who is the tracked person in each camera: cleaning, following, finding."""

from __future__ import annotations

import numpy as np
import pytest
from core_example import ring

from biomech_fit.core.types import KeypointPacket
from biomech_fit.stream.association import Views, cleaned, find_people, follow, unclaimed

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
    nothing, (xy, found) = cleaned([None, packet(np.ones((2, K, 2)), confidence)], np.ones(K, bool), 0.1)
    assert nothing is None
    assert found[1, 3] == 0 and np.isnan(xy[1, 3]).all()
    assert np.all(np.delete(found.ravel(), K + 3) == np.float32(0.8)) and np.isfinite(np.delete(xy.reshape(-1, 2), K + 3, 0)).all()


def test_bad_coordinates_count_as_missing_and_large_confidences_as_one() -> None:
    xy = np.ones((1, K, 2))
    xy[0, 0] = np.nan
    xy[0, 1, 1] = np.inf
    ((found_xy, confidence),) = cleaned([packet(xy, np.full((1, K), 7.0))], np.ones(K, bool), 0.1)
    assert list(confidence[0, :3]) == [0, 0, 1] and np.isnan(found_xy[0, :2]).all()
    used = np.arange(K) % 2 == 0
    nobody, one = packet(np.zeros((0, K, 2)), np.zeros((0, K))), packet(xy, np.ones((1, K)))
    both = cleaned([nobody, one, None, one], used, 0.0)
    assert both[2] is None and [found[0].shape for found in both if found is not None] == [(0, K // 2, 2), (1, K // 2, 2), (1, K // 2, 2)]
    assert cleaned([None, None], used, 0.0) == [None, None]


def test_follow_takes_the_nearest_within_the_gate() -> None:
    rng = np.random.default_rng(0)
    man, stranger = someone(1, (0, 0, 1)), someone(2, (0.7, 0.6, 1))
    people = detections([man, stranger], rng)
    predicted = np.stack([camera.project(man + 0.02) for camera in CAMERAS])
    (views,) = follow(people, predicted[None], 60.0)
    assert views.seen.all()
    for c, camera in enumerate(CAMERAS):
        assert np.abs(views.xy[c] - camera.project(man)).max() < 12
    assert not follow(people, predicted[None] + 1000, 60.0)[0].seen.any()
    nobody: list = [None, (np.zeros((0, K, 2)), np.zeros((0, K))), people[2], (np.full((1, K, 2), np.nan), np.zeros((1, K)))]
    assert list(follow(nobody, predicted[None], 60.0)[0].seen) == [False, False, True, False]


def test_follow_needs_three_points_of_a_person() -> None:
    """One stray point near the prediction is nobody."""
    predicted = np.stack([camera.project(someone(1, (0, 0, 1))) for camera in CAMERAS])
    xy, confidence = predicted[:1].copy(), np.zeros((1, K))
    confidence[0, :2] = 0.9
    people = [(np.where(confidence[..., None] > 0, xy, np.nan), confidence), None, None, None]
    assert not follow(people, predicted[None], 60.0)[0].seen.any()


def test_a_prediction_that_is_no_number_matches_nobody() -> None:
    people = detections([someone(1, (0, 0, 1))], np.random.default_rng(0))
    assert not follow(people, np.full((1, 4, K, 2), np.nan), 60.0)[0].seen.any()


def test_find_takes_the_person_whom_all_cameras_see() -> None:
    """Strangers of whom two cameras each have another one; the order of people differs from camera to camera."""
    rng = np.random.default_rng(3)
    man = someone(1, (0.1, 0.2, 1.0))
    people = detections([man], rng)
    for c in range(4):  # somebody else in every camera, not the same body
        xy = CAMERAS[c].project(someone(10 + c, (-0.9 + 0.4 * c, 0.8 - 0.5 * c, 1.1)))[None]
        both = np.concatenate([xy, people[c][0]] if c % 2 else [people[c][0], xy])
        people[c] = (both, np.where(np.isfinite(both[..., 0]), 0.9, 0.0))
    (found,) = find_people(CAMERAS, people)
    views, points = found.views, found.points
    assert views.seen.all() and found.share == 1.0
    assert np.median(np.linalg.norm(points - man, axis=1)) < 0.01
    for c, camera in enumerate(CAMERAS):
        assert np.median(np.linalg.norm(views.xy[c] - camera.project(man), axis=1)) < 5


def test_find_needs_two_cameras_that_agree() -> None:
    rng = np.random.default_rng(4)
    people = detections([someone(1, (0, 0, 1))], rng)
    assert find_people(CAMERAS, [people[0], None, None, None]) == []
    assert find_people(CAMERAS, [None] * 4) == []
    empty = (np.zeros((0, K, 2)), np.zeros((0, K)))
    assert find_people(CAMERAS, [empty] * 4) == []
    other = detections([someone(7, (0.5, -0.4, 1.6))], rng)  # of another height: cameras at a right angle can tell
    assert find_people(CAMERAS, [people[0], other[1], None, None]) == []
    (found,) = find_people(CAMERAS, [people[0], people[1], None, empty])
    assert list(found.views.seen) == [True, True, False, False] and np.isfinite(found.points).all()
    # The fourth camera looked and saw nobody; the third said nothing.
    assert found.share == pytest.approx(2 / 3)


def test_an_empty_view_sees_nothing() -> None:
    views = Views.empty(3, K)
    assert not views.seen.any() and views.xy.shape == (3, K, 2)


def test_people_share_out_the_detections_between_them() -> None:
    """Two people who pass each other: the one whose detection a camera misses does not get the other's, though it is within the gate."""
    rng = np.random.default_rng(5)
    man, woman = someone(1, (0, 0, 1)), someone(1, (0.15, 0.1, 1))
    people = detections([man, woman], rng)
    predicted = np.stack([[camera.project(who + 0.01) for camera in CAMERAS] for who in (man, woman)])
    for who, views in zip((man, woman), follow(people, predicted, 80.0), strict=True):
        for c, camera in enumerate(CAMERAS):
            assert np.median(np.linalg.norm(views.xy[c] - camera.project(who), axis=1)) < 6
    only_woman = [(CAMERAS[0].project(woman)[None], np.full((1, K), 0.9)), *people[1:]]
    first, second = follow(only_woman, predicted, 80.0)
    assert list(first.seen) == [False, True, True, True] and second.seen.all()
    assert first.taken[0] == -1 and second.taken[0] == 0


def test_what_is_claimed_is_not_found_again() -> None:
    """Three people in random order: each is found once, with all views; after two are claimed only the third is left."""
    rng = np.random.default_rng(6)
    crowd = [someone(s, place) for s, place in ((1, (0.1, 0.2, 1.0)), (2, (-0.9, 0.8, 1.1)), (3, (0.8, -0.9, 0.9)))]
    people = detections(crowd, rng)
    found = find_people(CAMERAS, people, 4)
    assert len(found) == 3
    who = [int(np.argmin([np.nanmedian(np.linalg.norm(f.points - person, axis=1)) for person in crowd])) for f in found]
    assert sorted(who) == [0, 1, 2]
    for f, w in zip(found, who, strict=True):
        assert f.views.seen.all() and f.share == 1.0 and np.median(np.linalg.norm(f.points - crowd[w], axis=1)) < 0.01
    (last,) = find_people(CAMERAS, unclaimed(people, [f.views for f in found[:2]]), 4)
    np.testing.assert_array_equal(last.views.taken, found[2].views.taken)


def test_ghosts_of_two_strangers_have_a_small_share() -> None:
    """Different people in two of the cameras may agree by chance; the other cameras, which see nobody there, tell."""
    rng = np.random.default_rng(7)
    stranger = detections([someone(1, (0, 0, 1))], rng)
    empty = (np.zeros((0, K, 2)), np.zeros((0, K)))
    (found,) = find_people(CAMERAS, [stranger[0], stranger[1], empty, empty])
    assert found.share == 0.5
