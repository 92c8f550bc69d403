"""benchmark/learn_motion_prior.py: its filter against a plain Kalman filter, its criteria on motion of known strength, its poses on a recorded walk."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
WALKS = ROOT.parent / "shared" / "data" / "mcgill_walking"
sys.path.insert(0, str(ROOT / "benchmark"))

learn_motion_prior = pytest.importorskip("learn_motion_prior", reason="the folder benchmark/ is not beside test/")
walking_poses = pytest.importorskip("walking_poses")

STEP_S, NOISE_STD = 1 / 60, 0.03
JERK_STD, ACCELERATION_STD = 500.0, 20.0


def _draws(count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Series of 120 values from the prior itself, by its transition."""
    step, noise, acceleration = learn_motion_prior.transition(JERK_STD, ACCELERATION_STD, STEP_S)
    root = np.linalg.cholesky(noise)
    state, out = np.array([np.zeros(count), rng.standard_normal(count), np.sqrt(acceleration) * rng.standard_normal(count)]), []
    for _ in range(120):
        out.append(state[0])
        state = step @ state + root @ rng.standard_normal((3, count))
    return list(np.array(out).T)


def test_jerk_averaged_over_the_reference_step_has_jerk_std() -> None:
    """With a long memory the third difference over 1/60 s is the mean jerk of three steps, weighted 1:4:1 to 1/6: its variance is 11/20 of jerk_std^2."""
    count = 60
    covariance = learn_motion_prior.covariance(count, JERK_STD, 1e6, STEP_S)
    third = np.diff(np.eye(count), 3, axis=0) / STEP_S**3
    variance = np.diag(third @ covariance @ third.T)
    # What is left of the finite memory and of rounding stays below half a percent.
    np.testing.assert_allclose(variance, 11 / 20 * JERK_STD**2, rtol=5e-3)


def test_expected_errors_are_those_of_a_kalman_filter() -> None:
    """Bias from a run without noise, variance from 4000 draws: 5 standard errors of a variance are 5 sqrt(2 / 4000) = 11 %."""
    rng = np.random.default_rng(0)
    truth = _draws(1, rng)[0]
    truth = truth - truth[0]
    prior = learn_motion_prior.covariance(len(truth), JERK_STD, ACCELERATION_STD, STEP_S)
    _, smooth, causal = learn_motion_prior.expected_errors(truth, learn_motion_prior.whitener(prior, NOISE_STD), NOISE_STD)

    step, noise, acceleration = learn_motion_prior.transition(JERK_STD, ACCELERATION_STD, STEP_S)
    seen = truth[:, None] + NOISE_STD * rng.standard_normal((len(truth), 4000))
    state, spread, filtered = np.zeros((3, 4000)), np.diag([10.0, 10.0, acceleration]), []
    for t, y in enumerate(seen):
        if t:
            state, spread = step @ state, step @ spread @ step.T + noise
        gain = spread[:, 0] / (spread[0, 0] + NOISE_STD**2)
        state, spread = state + gain[:, None] * (y - state[0]), spread - np.outer(gain, spread[0])
        filtered.append(state[0])
    measured = ((np.array(filtered) - truth[:, None]) ** 2).mean(1)
    np.testing.assert_allclose(causal, measured, rtol=0.11)
    # The last value is the same from both; before it, the smoothed one knows more.
    assert smooth[-1] == pytest.approx(causal[-1], rel=1e-6)
    assert smooth[30:90].mean() < 0.6 * causal[30:90].mean()


def test_the_most_likely_scales_are_those_the_motion_was_made_with() -> None:
    """40 series of 2 s: the likelihood is flat within about half an octave."""
    series = _draws(40, np.random.default_rng(1))
    trials = {(j, a): 0.0 for j in (125.0, 250.0, 500.0, 1000.0, 2000.0) for a in (5.0, 10.0, 20.0, 40.0, 80.0)}
    for j, a in trials:
        trials[j, a] = learn_motion_prior.criteria(series, j, a, 1e-3, STEP_S)[:, 0].sum()
    assert max(trials, key=lambda k: trials[k]) == (JERK_STD, ACCELERATION_STD)


def test_scales_are_learned_pooled_and_kept_above_the_floor() -> None:
    row = learn_motion_prior._row(["a", "a", "b"], _draws(3, np.random.default_rng(2)), NOISE_STD, (60.0, 500.0))
    low, high = row["jerk_std_over_people"]
    assert 60 <= low <= high <= 4 * JERK_STD
    assert max(np.array(row["error_both"]) / row["error_present"]) < 1
    proposed = learn_motion_prior.proposal({"knee_angle": row}, floor=0.5)["knee_angle"]
    assert proposed["jerk_std"] == pytest.approx(row["both"][0], rel=0.05), "two digits"
    assert proposed["acceleration_std"] == 250.0, "half the present value"


def test_the_poses_of_a_walk_agree_with_plug_in_gait() -> None:
    """Knee flexion of another model of the same markers: constant difference removed, the two axes leave about 2 degrees."""
    trials = walking_poses.walking_trials(WALKS)
    if not trials:
        pytest.skip(f"the recordings of mcgill_walking are not at {WALKS}")
    body = walking_poses.walking_body()
    fit = walking_poses.fit_trial(trials[0], body)
    assert fit.error_m < 0.005
    computed = walking_poses.read_c3d(trials[0]).computed
    for side in "rl":
        knee = np.rad2deg(fit.x[:, body.coordinate_names.index(f"knee_angle_{side}")]) - computed[f"{side.upper()}KneeAngles"][:, 0]
        assert np.std(knee) < 3.0
