"""The parts of the gait detector: smoothed motion, the model of support, the floor's velocity, times of events."""

import itertools

import numpy as np
import pytest

from biomech_fit.core.contact_time import LANDING, LEAVING, Ramp, event_time
from biomech_fit.core.foot_motion import FootMotion, FootSample
from biomech_fit.core.moving_floor import MovingFloor
from biomech_fit.core.support import SupportModel, evidence


def sample(t, heel=(0.0, 0.0, 0.0), toe=(0.0, 0.0, 0.0), noise=0.0):
    velocity = [*heel, *toe]
    out = FootSample(t, [0.0] * 6, velocity, velocity, noise, noise)
    out.relate((0.0, 0.0))
    return out


def test_motion_of_a_cubic_is_exact_at_uneven_times():
    rng = np.random.default_rng(0)
    time = np.cumsum(rng.uniform(0.008, 0.012, 60))
    coefficients = rng.standard_normal((4, 6))
    motion = FootMotion(0.1)
    done = [s for t in time for s in motion.add(t, *np.split(np.polynomial.polynomial.polyval(t, coefficients), 2))]
    assert [s.t for s in done] == time[: len(done)].tolist() and 0.03 < time[-1] - done[-1].t < 0.06
    slope = np.polynomial.polynomial.polyder(coefficients)
    for s in done[8:]:
        # The weights are those of times rounded to 0.2 ms, and the parabola has a share in the velocity.
        np.testing.assert_allclose(s.position, np.polynomial.polynomial.polyval(s.t, coefficients), atol=5e-4)
        np.testing.assert_allclose(s.velocity, np.polynomial.polynomial.polyval(s.t, slope), atol=0.02)
    assert len(done) + len(motion.rest()) == len(time)


def test_motion_tells_its_noise():
    rng = np.random.default_rng(1)
    motion = FootMotion(0.1)
    done = [s for k in range(600) for s in motion.add(k / 100, 0.004 * rng.standard_normal(3), 0.004 * rng.standard_normal(3))][100:]
    for name, std in (("velocity", "velocity_std"), ("calm", "calm_std")):
        measured = np.std([getattr(s, name) for s in done])
        assert np.mean([getattr(s, std) for s in done]) == pytest.approx(measured, rel=0.2)  # of one and the same noise, estimated in two ways


def test_smoothed_support_is_that_of_all_sequences_together():
    rng = np.random.default_rng(2)
    odds = rng.normal(0, 2, 7)
    dt = 0.02
    model = SupportModel(0.1, 0.1)
    for k, x in enumerate(odds):
        model.add(k * dt, x, None, -np.inf)
    leave, land = dt / 0.7, dt / 0.4  # the mean durations of stance and swing that the module states
    weight = {}
    for states in itertools.product((0, 1), repeat=7):
        # The first instant, too, is one step from even odds.
        w = 0.5 * (land if states[0] else 1 - land) + 0.5 * ((1 - leave) if states[0] else leave)
        for a, b in itertools.pairwise(states):
            w *= (leave if not b else 1 - leave) if a else (land if b else 1 - land)
        weight[states] = w * np.exp(sum(x for x, s in zip(odds, states, strict=True) if s))
    for i in range(7):
        up = sum(w for s, w in weight.items() if s[i])
        assert model.posterior(i) == pytest.approx(np.log(up / (sum(weight.values()) - up)), abs=1e-6)


def test_evidence_of_support():
    slow, fast = sample(0, heel=(1.0, 0, 0), toe=(0.02, 0, 0)), sample(0, heel=(3.0, 0, 0), toe=(2.0, 0, 0))
    assert evidence(slow, (0.05, 0.0), 0.4, 0.05, 0.0) > 4 and evidence(fast, (0.0, 0.0), 0.4, 0.05, 0.0) < -2
    assert evidence(slow, (0.2, 0.1), 0.4, 0.05, 0.0) < evidence(slow, (0.2, 0.0), 0.4, 0.05, 0.0)
    assert evidence(fast, (0, 0), 0.4, 0.05, 1.0) > evidence(fast, (0, 0), 0.4, 0.05, 0.0)


def shuffle(floor, velocities, seconds=0.5):
    for k in range(round(seconds * 100)):
        for foot in (0, 1):
            floor.observe(foot, 1 - foot, sample(k / 100, velocities[foot], velocities[foot]), (0.0, 0.0))


def test_floor_velocity():
    belt, at_rest, shuffled = MovingFloor(), MovingFloor(), MovingFloor()
    shuffle(belt, [(-1.0, 0.1, 0.0)] * 2)
    assert belt.velocity == pytest.approx((-1.0, 0.1)) and belt.moved
    shuffle(belt, [(0.0, 0.0, 0.0)] * 2, seconds=2.0)
    assert belt.velocity == (0.0, 0.0), "the belt has stopped"
    shuffle(at_rest, [(0.02, 0.0, 0.0)] * 2)
    assert at_rest.velocity == (0.0, 0.0) and at_rest.course() == [(0.0, 0.0, 0.0)]
    shuffle(shuffled, [(0.8, 0.0, 0.0), (0.0, 0.0, 0.0)])
    assert shuffled.velocity == (0.0, 0.0), "one foot slides while the other stands: no belt"
    known = MovingFloor(given=[(0.0, 0.0, 0.0), (10.0, -1.0, 0.0)])
    assert known.at(4.9) == (0.0, 0.0) and known.at(5.1) == (-1.0, 0.0)


@pytest.mark.parametrize(("model", "sign"), [(LANDING, -1), (LEAVING, 1)])
def test_event_times_scale_with_speed_and_time(model, sign):
    def found(greatest, ramp_s):
        times = np.arange(-0.5, 0.5, 0.01)
        speed = np.clip(0.2 + sign * times / ramp_s, 0, 1) * greatest
        samples = [sample(t, (v, 0, 0), (v, 0, 0)) for t, v in zip(times, speed, strict=True)]
        ramp = Ramp()
        for _ in range(60):  # the person's usual ramp is learned
            out = event_time(model, samples, 50, greatest, 1e-6, ramp)
        assert ramp.length_s == pytest.approx(ramp_s, rel=0.01)
        return out

    t, std = found(4.0, 0.15)
    assert found(1.0, 0.15) == pytest.approx((t, std), rel=1e-3)
    assert found(4.0, 0.30) == pytest.approx((2 * t, 2 * std), rel=0.03)
    assert event_time(model, [sample(0.0)], 0, 1.0, 0.1, Ramp()) is None


def test_the_course_of_a_belt_reaches_back_to_the_beginning() -> None:
    """Forty minutes with seven readings a second; the belt runs faster from the twentieth on."""
    floor = MovingFloor()
    for k in range(40 * 60 * 7):
        floor._take(k / 7, (-1.0 if k < 20 * 60 * 7 else -1.5, 0.0))
    assert len(floor.readings) <= 4000
    given = MovingFloor(given=floor.course())
    assert given.at(30.0) == (-1.0, 0.0) and given.at(19 * 60.0) == (-1.0, 0.0) and given.at(39 * 60.0) == (-1.5, 0.0)
