"""Every fault of the simulator does what it says, where and when it says, and nothing else changes."""

import csv
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from biomech_fit.core.errors import InputError
from biomech_fit.sim.cameras import project
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.fault_plan import KINDS, plan_faults
from biomech_fit.sim.faults import ALL, Away, ClockStep, Duplicates, Loss, Moved, Silent, Stranger, Swaps
from biomech_fit.sim.simulate import Simulation, simulate
from biomech_fit.sim.write import write

EXACT = SimConfig(seconds=4.0, cameras=3, seed=5, sigma_px=0.0, outlier_fraction=0.0, missing_fraction=0.0)


@pytest.fixture(scope="module")
def plain() -> Simulation:
    return simulate(EXACT)


def _count(sim: Simulation, camera: int, from_s: float, until_s: float) -> int:
    name = sim.cameras[camera].name
    return sum(p.camera == name and from_s <= p.stamp_ns * 1e-9 < until_s - 1e-6 for p in sim.packets())


def test_a_camera_is_silent_for_a_while_and_the_rest_is_as_before(plain):
    sim = simulate(replace(EXACT, silent_camera=1, silent_from_s=1.0, silent_until_s=2.5))
    assert [_count(sim, 1, a, b) for a, b in ((0.0, 1.0), (1.0, 2.5), (2.5, 4.0))] == [60, 0, 90]
    here = [p for p in plain.packets() if p.camera != "cam02" or not 1.0 <= p.stamp_ns * 1e-9 < 2.5 - 1e-6]
    for a, b in zip(sim.packets(), here, strict=True):
        assert (a.camera, a.stamp_ns, a.received_ns) == (b.camera, b.stamp_ns, None)
        np.testing.assert_array_equal(a.xy, b.xy)


def test_packets_are_lost_in_an_interval():
    sim = simulate(EXACT, faults=[Loss(ALL, 1.0, 3.0, share=0.3)])
    assert all(_count(sim, c, 0.0, 1.0) == 60 and _count(sim, c, 3.0, 4.0) == 60 for c in range(3))
    lost = 1 - sum(_count(sim, c, 1.0, 3.0) for c in range(3)) / 360
    assert lost == pytest.approx(0.3, abs=0.08)  # three standard deviations of 360 draws


def test_a_lagging_camera_shows_the_past(plain):
    sim = simulate(replace(EXACT, lagging_camera=2, lag_ms=50.0, lag_from_s=2.0))
    np.testing.assert_array_equal(sim.detections[2].xy[:120], plain.detections[2].xy[:120])
    # 50 ms are three frames: the picture of three frames ago, but for the rounding of the times
    np.testing.assert_allclose(sim.detections[2].xy[130:, 0], plain.detections[2].xy[127:-3, 0], atol=0.01, equal_nan=True)
    assert sim.truth.clock_offset_s.tolist() == [0.0, 0.0, pytest.approx(-0.05)]
    np.testing.assert_array_equal(sim.truth.keypoints, plain.truth.keypoints)


@pytest.mark.parametrize(("camera", "steps"), [(1, [0, 30_000_000, 0]), (ALL, [30_000_000] * 3)])
def test_a_clock_is_set(plain, camera, steps):
    sim = simulate(replace(EXACT, clock_step_ms=30.0, clock_step_camera=camera, clock_step_at_s=2.0))
    for c, step in enumerate(steps):
        assert np.unique((sim.detections[c].stamp_ns - plain.detections[c].stamp_ns)[:120]).tolist() == [0]
        assert np.ptp((sim.detections[c].stamp_ns - plain.detections[c].stamp_ns)[120:]) <= 1  # ns
        assert sim.detections[c].stamp_ns[-1] - plain.detections[c].stamp_ns[-1] == pytest.approx(step, abs=1)
        assert sim.truth.clock_offset_s[c] == pytest.approx(-1e-9 * step)
        np.testing.assert_array_equal(sim.detections[c].xy, plain.detections[c].xy)
    arrivals = [p.stamp_ns if p.received_ns is None else p.received_ns for p in sim.packets()]
    assert arrivals == [p.stamp_ns for p in plain.packets()]


def test_a_burst_of_swaps(plain):
    sim = simulate(replace(EXACT, swap_camera=0, swap_from_s=1.0, swap_for_s=2.0))
    mirror = np.array(sim.keypoint_set.mirror)
    straight, seen = plain.detections[0].xy[:, 0], sim.detections[0].xy[:, 0]
    swapped = np.array([np.array_equal(seen[f], straight[f, mirror], equal_nan=True) for f in range(240)])
    unchanged = np.array([np.array_equal(seen[f], straight[f], equal_nan=True) for f in range(240)])
    assert (swapped ^ unchanged).all() and unchanged[:60].all() and unchanged[180:].all()
    assert swapped[60:180].mean() == pytest.approx(0.7, abs=0.13)  # three standard deviations of 120 draws


def test_a_moved_tripod(plain):
    sim = simulate(replace(EXACT, moved_camera=1, moved_at_s=2.0))
    before, after = sim.true_cameras[1], sim.final_cameras[1]
    assert np.rad2deg(Rotation.from_matrix(after.rotation @ before.rotation.T).magnitude()) == pytest.approx(2.0)
    assert np.linalg.norm(after.rotation.T @ after.translation - before.rotation.T @ before.translation) == pytest.approx(0.1)
    np.testing.assert_array_equal(sim.cameras[1].rotation, plain.cameras[1].rotation)  # nobody tells the user
    np.testing.assert_array_equal(sim.detections[1].xy[:120], plain.detections[1].xy[:120])
    expected = project(after, sim.truth.keypoints[120:])
    np.testing.assert_allclose(sim.detections[1].xy[120:, 0], np.where(np.isnan(expected), np.nan, expected), atol=1e-3)
    np.testing.assert_array_equal(sim.final_cameras[0].rotation, plain.true_cameras[0].rotation)


def test_the_person_leaves_and_returns(plain):
    sim = simulate(replace(EXACT, away_at_s=1.0, away_for_s=1.5))
    people = {(p.camera, p.stamp_ns): len(p.xy) for p in sim.packets()}
    assert len(people) == len(list(plain.packets()))
    assert sum(count == 0 for count in people.values()) == 3 * 90
    assert sim.truth.present.sum() == 240 - 90 and not sim.truth.present[60:150].any()
    np.testing.assert_array_equal(sim.truth.keypoints, plain.truth.keypoints)


def test_a_stranger_comes_and_goes():
    sim = simulate(EXACT, faults=[Stranger(2, 1.0, 2.0)])
    people = np.array([(p.stamp_ns * 1e-9, len(p.xy)) for p in sim.packets() if p.camera == "cam03"])
    during = (people[:, 0] >= 1.0) & (people[:, 0] < 2.0 - 1e-6)
    assert people[during, 1].mean() > 1.7 and people[~during, 1].max() == 1
    assert all(len(p.xy) == 1 for p in sim.packets() if p.camera != "cam03")


def test_late_double_and_reordered_packets_arrive_so():
    sim = simulate(replace(EXACT, late_fraction=0.2, late_ms=70.0, duplicate_fraction=0.2, reordered_fraction=0.1))
    packets = list(sim.packets())
    arrival = np.array([p.stamp_ns if p.received_ns is None else p.received_ns for p in packets])
    assert (np.diff(arrival) >= 0).all()
    first, delays = set(), []
    for packet, at in zip(packets, arrival, strict=True):
        key = packet.camera, packet.stamp_ns
        if key not in first:
            delays.append(at - packet.stamp_ns)
        first.add(key)
    assert len(first) == 720 and (len(packets) - 720) / 720 == pytest.approx(0.2, abs=0.05)
    share = dict(zip(*np.unique(np.round(delays, -3), return_counts=True), strict=True))  # stamp and arrival are rounded to a nanosecond each
    assert set(share) == {0, round(1.25e9 / 60, -3), 70_000_000}
    assert share[70_000_000] / 720 == pytest.approx(0.2, abs=0.05)
    stamps = [p.stamp_ns for p in packets if p.camera == "cam01"]
    assert any(b < a for a, b in pairwise(stamps))


@pytest.mark.parametrize(("slope", "ratio"), [(0.0, 1.0), (4.0, np.sqrt(0.6 + 0.4 * 4.0**2))])
def test_the_confidence_tells_nothing_or_all(slope, ratio):
    """RMS error of the less over that of the more confident half: 1 where it says nothing; where it says all, the fifth with four times the error is in one."""
    sim = simulate(replace(EXACT, sigma_px=4.0, outlier_fraction=0.2, confidence_slope=slope))
    error = np.concatenate([d.xy[:, 0] - project(c, sim.truth.keypoints) for d, c in zip(sim.detections, sim.true_cameras, strict=True)])
    confidence = np.concatenate([d.confidence[:, 0] for d in sim.detections])
    seen = np.isfinite(error[..., 0])
    half = np.median(confidence[seen])
    rms = [np.sqrt(np.mean(error[seen & which] ** 2)) for which in (confidence < half, confidence >= half)]
    assert rms[0] / rms[1] == pytest.approx(ratio, rel=0.08)  # 19000 points, a fifth of them with much weight


def test_a_static_trial_and_a_walk_after_standing():
    still = simulate(replace(EXACT, seconds=2.0, standing=2.0))
    assert np.abs(np.gradient(still.truth.keypoints, still.truth.time_s, axis=0)).max() < 0.2  # m/s; people sway a little
    assert not still.truth.events
    sim = simulate(replace(EXACT, seconds=5.0, standing=1.5))
    speed = np.linalg.norm(np.gradient(sim.truth.qpos[:, :2], sim.truth.time_s, axis=0), axis=1)
    assert speed[:85].max() < 0.15 and speed[200:].mean() > 0.6  # m/s
    assert min(e.stamp_ns for e in sim.truth.events) > 1.5e9
    np.testing.assert_array_equal(still.subject.segment_lengths_m, sim.subject.segment_lengths_m)
    with pytest.raises(InputError, match="treadmill"):
        simulate(replace(EXACT, standing=1.0, path="treadmill"))


def test_parts_are_other_walks_of_the_same_person_before_the_same_cameras(plain):
    other = simulate(EXACT, part=1)
    np.testing.assert_array_equal(other.subject.keypoint_offset, plain.subject.keypoint_offset)
    np.testing.assert_array_equal(other.cameras[2].rotation, plain.cameras[2].rotation)
    assert np.abs(other.truth.coordinates - plain.truth.coordinates).max() > 0.05
    np.testing.assert_array_equal(simulate(EXACT, part=1).truth.coordinates, other.truth.coordinates)


def test_the_truth_tells_the_faults(tmp_path):
    sim = simulate(replace(EXACT, seconds=1.0, moved_camera=1, moved_at_s=0.5, away_at_s=0.2, away_for_s=0.3), faults=[Silent(0, 0.1, 0.2)])
    folder = write(sim, tmp_path / "out")
    with (folder / "truth_faults.csv").open() as table:
        rows = list(csv.DictReader(table))
    expected = [("moved", "cam02", "0.500000"), ("away", "all", "0.200000"), ("silent", "cam01", "0.100000")]
    assert [(r["fault"], r["camera"], r["from_s"]) for r in rows] == expected
    assert rows[0]["details"] == "rotation_deg=2 translation_mm=100" and rows[0]["until_s"] == "inf"
    stored = np.load(folder / "truth.npz", allow_pickle=False)
    np.testing.assert_array_equal(stored["present"], sim.truth.present)
    np.testing.assert_array_equal(stored["camera_rotation"][1], sim.final_cameras[1].rotation)


def test_a_plan_has_every_kind_and_leaves_pauses():
    plan = plan_faults(np.random.default_rng(3), 300.0, 8)
    kinds = {"clock_step" if isinstance(f, ClockStep) else f.kind for f in plan}
    assert kinds == {k for k in KINDS if k != "clock_jump"}
    assert {f.camera == ALL for f in plan if isinstance(f, ClockStep)} == {True, False}
    spans = sorted({(f.from_s, f.until_s) for f in plan})
    assert spans[0][0] == 2.0 and spans[-1][1] <= 298.0
    assert all(b[0] - a[1] >= 2.0 for a, b in pairwise(spans))
    together = [[f for f in plan if f.from_s == a] for a, _ in spans]
    assert any(len(group) == 2 for group in together) and max(map(len, together)) == 2
    only = plan_faults(np.random.default_rng(3), 60.0, 2, kinds=("away",))
    assert only and all(isinstance(f, Away) for f in only)


def test_faults_per_minute():
    sim = simulate(replace(EXACT, seconds=60.0, cameras=1, frame_rate_hz=10.0, faults_per_minute=8.0))
    assert 5 <= len({f.from_s for f in sim.faults}) <= 11
    assert simulate(replace(EXACT, seconds=60.0, cameras=1, frame_rate_hz=10.0, faults_per_minute=8.0)).faults == sim.faults


@pytest.mark.parametrize("fault", [Swaps(3), Moved(7), Duplicates(4)])
def test_a_fault_of_a_camera_that_is_not_there(fault):
    with pytest.raises(InputError, match=r"numbered from 0 to 2"):
        simulate(EXACT, faults=[fault])


@pytest.mark.parametrize("name", ["lagging_camera", "clock_step_camera", "swap_camera", "moved_camera"])
def test_a_camera_number_out_of_range_is_named(name):
    with pytest.raises(InputError, match=f"{name} is 3.*from 0 to 2"):
        simulate(replace(EXACT, **{name: 3}))
