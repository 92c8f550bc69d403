"""Those who are not tracked yet, and what all people together say of the cameras."""

from __future__ import annotations

import numpy as np
import pytest
from core_example import ring

from biomech_fit.stream.association import Found, Views
from biomech_fit.stream.shared_cameras import CameraBelief, combined
from biomech_fit.stream.watch import LIFELESS_FACTOR, Watchlist

CAMERAS = ring(3)
K = 10
BONES = np.array([(k, k + 1) for k in range(K - 1)])
FRAME_NS = 33_000_000


def body(seed: int = 0, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    """(K, 3) m: an upright figure, near the origin unless shifted."""
    points = np.column_stack([np.random.default_rng(seed).uniform(-0.25, 0.25, (K, 2)), np.linspace(0.1, 1.7, K)])
    return points + np.array([x, y, z])


def found(points: np.ndarray, rng: np.random.Generator | None = None, even: bool = False) -> Found:
    xy = np.stack([camera.project(points) for camera in CAMERAS])
    if rng is not None:
        xy = xy + rng.normal(0, 2, xy.shape)
    confidence = np.full(xy.shape[:2], 0.9) if even else 0.9 - 0.02 * np.arange(K) * np.ones((len(CAMERAS), 1))
    return Found(Views(xy, confidence, np.zeros(len(CAMERAS), int)), points, 25.0, 1.0)


def watched(frames: list[list[Found]]) -> list:
    watchlist = Watchlist(BONES)
    for i, people in enumerate(frames):
        watches = watchlist.look(i * FRAME_NS, people)
    return watches


def test_who_walks_is_one_person_and_who_is_elsewhere_another() -> None:
    """Two people, in changing order; one walks at 1.5 m/s, the other 1.2 m beside."""
    rng = np.random.default_rng(0)
    frames = []
    for i in range(8):
        pair = [found(body(x=1.5 * i * 0.033), rng), found(body(1, y=1.2), rng)]
        frames.append(pair if i % 2 else pair[::-1])
    first, second = watched(frames)
    assert first.age_s == second.age_s == pytest.approx(7 * 0.033)
    assert len(first.lengths) == 8 and first.size_against(first.lengths[0]) < 0.01
    assert first.size_against(1.1 * first.lengths[0]) == pytest.approx(np.log(1.1), abs=0.01)


def test_after_a_gap_or_a_jump_it_is_somebody_new() -> None:
    watchlist = Watchlist(BONES)
    watchlist.look(0, [found(body())])
    (near,) = watchlist.look(FRAME_NS, [found(body() + 0.05)])
    assert near.age_s > 0
    (far,) = watchlist.look(2 * FRAME_NS, [found(body() + 2.0)])
    assert far.age_s == 0
    (late,) = watchlist.look(20 * FRAME_NS, [found(body() + 2.0)])
    assert late.age_s == 0
    assert watchlist.look(21 * FRAME_NS, []) == []


def test_what_is_alive_counts_more() -> None:
    """A walker, somebody who stands (detector noise), a figure (nothing moves), a figure that is carried about, and one with even confidences."""
    rng = np.random.default_rng(1)
    walk = [body() + 0.15 * np.sin(0.5 * i) * np.random.default_rng(2).uniform(-1, 1, (K, 3)) for i in range(8)]

    def weight(people: list[Found]) -> float:
        return watched([[p] for p in people])[0].weight

    standing = weight([found(body(), rng) for _ in range(8)])
    figure = weight([found(body()) for _ in range(8)])
    carried = weight([found(body(z=0.01 * i)) for i in range(8)])
    pasted = weight([found(points, rng, even=True) for points in walk])
    assert figure == pasted == pytest.approx(LIFELESS_FACTOR * 25)
    assert 25 <= standing < 1.3 * 25
    assert weight([found(points, rng) for points in walk]) > 1.4 * 25
    # Its perspective changes a little as it is lifted: no more than for somebody who stands.
    assert carried < 1.3 * 25


# --- the cameras, of all people together ---------------------------------------------------------------------------------------------------------


def moments(information: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return mean, np.linalg.inv(information)


def test_beliefs_combine_to_the_posterior_of_all_measurements() -> None:
    """Linear measurements of one state by three people, each estimated apart from the same prior: together as if estimated at once."""
    rng = np.random.default_rng(0)
    n = 7
    root = rng.normal(size=(n, n))
    prior_information, prior_mean = root @ root.T + np.eye(n), rng.normal(size=n)
    prior = CameraBelief.before(prior_mean, prior_information)
    everything = prior
    found_by = []
    for rows in (3, 5, 9):
        a, y = rng.normal(size=(rows, n)), rng.normal(size=rows)
        more = CameraBelief(a.T @ a, a.T @ y)
        everything = everything.plus(more)
        found_by.append(CameraBelief.of(*prior.plus(more).moments()).beyond(prior))
    mean, covariance = combined(prior, found_by).moments()
    true_mean, true_covariance = everything.moments()
    np.testing.assert_allclose(mean, true_mean, rtol=1e-6)
    np.testing.assert_allclose(covariance, true_covariance, rtol=1e-6)


def test_what_was_given_counts_once() -> None:
    """A person who begins with what is known and has seen nothing yet adds nothing; one who has forgotten takes nothing away."""
    prior = CameraBelief.before(np.zeros(3), np.diag([1.0, 4.0, 9.0]))
    known = CameraBelief.before(np.array([1.0, 2.0, 3.0]), np.diag([10.0, 40.0, 90.0]))
    together = combined(prior, [known.beyond(prior), known.beyond(known)])
    np.testing.assert_allclose(together.information, known.information)
    np.testing.assert_allclose(together.moments()[0], [1, 2, 3])
    less = CameraBelief.before(np.array([1.0, 2.0, 3.0]), np.diag([5.0, 20.0, 45.0]))
    assert not combined(prior, [less.beyond(known)]).vector.any()
