"""What is known of body and cameras between tracks."""

from __future__ import annotations

import numpy as np
import pytest

from biomech_fit.config.fit import FitConfig
from biomech_fit.core.window import SlowLayout
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.formats.model import load_body_model
from biomech_fit.sim.cameras import camera_rig
from biomech_fit.stream.fitted_body import FittedBody
from biomech_fit.stream.slow_states import SlowStates


@pytest.fixture
def states() -> SlowStates:
    keypoint_set = load_keypoint_set("halpe_26")
    body = FittedBody(load_body_model(None, keypoint_set), keypoint_set, 8).solved
    cameras = camera_rig(np.random.default_rng(0), 4, layout="ring", radius_m=4.0, width_px=1280, height_px=1024, focal_px=1000.0)
    return SlowStates(body, SlowLayout(len(body.scale_names), len(body.keypoint_names), 4, True), cameras, FitConfig())


def estimated(states: SlowStates, seen: np.ndarray) -> np.ndarray:
    """The covariance that a solver has of the prior that it is given, what earlier tracks learned, and what is `seen`."""
    return np.linalg.inv(np.asarray(states.solver_prior().precision, float) + states.learned() + seen)


def test_what_holds_the_cameras_at_the_start_is_not_learned(states: SlowStates) -> None:
    """Tracks that end before the rig is released, and of which nothing is seen, tell nothing; where something is seen, they tell that."""
    rig, size = states.layout.rig, states.layout.size
    prior = states.prior.precision[rig, rig]
    for _ in range(5):
        states.observe(states.prior.mean, estimated(states, np.zeros((size, size))))
    learned = np.linalg.eigvals(np.linalg.solve(prior, states.learned()[rig, rig])).real
    assert np.abs(learned).max() < 0.1  # float32, five times; each of them was taken for 24 once
    half = np.random.default_rng(1).standard_normal((size, 8)) * np.sqrt(np.diag(states.prior.precision))[:, None]
    states.observe(states.prior.mean, estimated(states, half @ half.T))
    np.testing.assert_allclose(states.learned(), half @ half.T, atol=0.01 * np.abs(half @ half.T).max())


def test_a_released_rig_is_taken_as_it_is_estimated(states: SlowStates) -> None:
    states.released = True
    covariance = estimated(states, np.zeros((states.layout.size,) * 2)) / 2
    states.observe(states.prior.mean, covariance)
    np.testing.assert_array_equal(states.estimate.covariance, covariance)
