"""Gait events through simulated cameras and the pipeline: standing with moving arms (a minute of it: benchmark/gait_standing.py), absence, a silent camera."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from biomech_fit.config.fit import FitConfig
from biomech_fit.core.gait import GaitDetector
from biomech_fit.core.gait_recording import causal_gait
from biomech_fit.core.types import GaitEvent, Status
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.simulate import simulate
from biomech_fit.stream.pipeline import FitPipeline

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmark"))
gait_standing = pytest.importorskip("gait_standing", reason="the folder benchmark/ is not beside test/")


def test_standing_with_moving_arms_gives_no_event():
    """Six seconds, in which the hands are over the head and behind the back; live, late and offline."""
    assert gait_standing.events_of_standing(6.0, 1) == {
        "causal_frames": 360, "causal_events": 0, "smoothed_frames": 360, "smoothed_events": 0, "offline_events": 0,
    }  # fmt: skip


def test_the_arms_do_move_and_the_feet_do_not():
    """Else the other test shows nothing: a wrist goes a metre and more, a heel stays within two millimetres."""
    person = gait_standing.Standing(4.0, 1)
    travel = {name: person.points[:, k].max(0) - person.points[:, k].min(0) for k, name in enumerate(person.keypoint_set.names)}
    assert max(travel["LWrist"].max(), travel["RWrist"].max()) > 0.8
    assert max(travel["LHeel"].max(), travel["RHeel"].max()) < 0.01


def test_a_silent_camera_and_a_person_who_leaves_and_returns():
    """No contact twice, none that was not, and from one step after the return none missing."""
    away = (3.0, 4.2)
    sim = simulate(SimConfig(seconds=7.0, seed=4, silent_camera=2, silent_from_s=1.0, silent_until_s=2.2, away_at_s=away[0], away_for_s=away[1] - away[0]))
    pipeline = FitPipeline(sim.body, sim.cameras, sim.keypoint_set, FitConfig())
    pipeline.compile()
    results = []
    for packet in sim.packets():
        pipeline.feed_keypoints(packet)
        results += pipeline.poll()
    results += pipeline.flush()
    assert all(r.causal is None or r.status != Status.OK for r in results if away[0] + 0.2 < r.stamp_ns * 1e-9 < away[1])
    for name in ("causal", "smoothed"):
        detector = GaitDetector(sim.keypoint_set.names, sim.body.joint_centre_names)
        events = causal_gait(detector, [detector.feet(e) for r in results if (e := getattr(r, name)) is not None])[0]
        taken = [nearest(e, sim.truth.events) for e in events]
        assert None not in taken and len(taken) == len(set(map(id, taken))), name
        due = [e for e in sim.truth.events if 0.5 < e.stamp_ns * 1e-9 < away[0] - 0.25 or away[1] + 0.7 < e.stamp_ns * 1e-9 < 6.6]
        assert len(due) > 10 and not [e for e in due if nearest(e, events) is None], name


def nearest(event: GaitEvent, others: Sequence[GaitEvent]) -> GaitEvent | None:
    """The one of the same foot and kind within 0.15 s."""
    return next((o for o in others if (o.side, o.type) == (event.side, event.type) and abs(o.stamp_ns - event.stamp_ns) < 150e6), None)
