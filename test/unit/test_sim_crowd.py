"""Several walkers: who they are, that they keep apart and cross, and what the cameras make of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from biomech_fit.sim.cameras import project
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.crowd import APART_M
from biomech_fit.sim.simulate import Simulation, simulate
from biomech_fit.sim.write import write

CONFIG = {"seconds": 3.0, "frame_rate_hz": 30.0, "cameras": 4, "seed": 1, "people": 3}


@cache
def crowd() -> Simulation:
    return simulate(SimConfig(**CONFIG))


def everybody() -> list[Simulation]:
    return [crowd(), *crowd().others]


def test_they_differ_and_keep_apart() -> None:
    people = everybody()
    assert len(people) == 3
    lengths = np.array([p.subject.segment_lengths_m for p in people])
    assert (np.abs(lengths[1:] / lengths[:-1] - 1).max(1) > 0.01).all()
    middle = np.stack([np.nanmean(p.truth.keypoints, axis=1)[:, :2] for p in people])
    apart = np.array([np.linalg.norm(middle[i] - middle[j], axis=1).min() for i in range(3) for j in range(i)])
    # The middle of the keypoints is not quite over the path: 0.1 m for arms and sway.
    assert (apart > APART_M - 0.1).all() and apart.min() < 1.0


def test_everybody_walks_about_and_is_where_the_truth_says() -> None:
    for person in everybody():
        travel = np.linalg.norm(np.diff(person.truth.qpos[:, :2], axis=0), axis=1).sum()
        assert 2.0 < travel < 6.0 and person.truth.events
        np.testing.assert_allclose(person.truth.coordinates[:, 0], person.truth.qpos[:, 0], atol=1e-9)


def test_the_cameras_see_all_of_them_in_random_order() -> None:
    """Each detection is the projection of one person's aimed points; over the recording each index is each person at some time."""
    people, owners = everybody(), []
    cameras = {c.name: c for c in crowd().true_cameras}
    for packet in list(crowd().packets())[:120]:
        frame = round(packet.stamp_ns * 1e-9 * CONFIG["frame_rate_hz"])
        pixels = [project(cameras[packet.camera], p.truth.keypoints[frame]) for p in people]
        owner = [int(np.argmin([np.nanmedian(np.linalg.norm(xy - p, axis=1)) for p in pixels])) for xy in packet.xy]
        assert len(set(owner)) == len(owner)
        owners.append(owner)
    assert {owner[0] for owner in owners} == {0, 1, 2}
    assert np.mean([len(owner) for owner in owners]) > 2.5


def test_who_is_behind_somebody_is_seen_less() -> None:
    """More points are missing than without others in the way."""
    alone = np.mean([np.isnan(d.xy[..., 0]).mean() for p in crowd().others for d in p.detections])
    among = np.mean([np.isnan(d.xy[:, 1:, :, 0]).mean() for d in crowd().detections])
    assert among > alone + 0.01


def test_the_same_seed_gives_the_same_crowd_and_the_first_person_alone_another_walk() -> None:
    again = simulate(SimConfig(**CONFIG))
    np.testing.assert_array_equal(again.others[1].truth.keypoints, crowd().others[1].truth.keypoints)
    np.testing.assert_array_equal(again.detections[2].xy, crowd().detections[2].xy)
    alone = simulate(SimConfig(**{**CONFIG, "people": 1}))
    assert not alone.others
    np.testing.assert_array_equal(alone.subject.segment_lengths_m, crowd().subject.segment_lengths_m)


def test_everybodys_truth_is_written(tmp_path: Path) -> None:
    out = write(crowd(), tmp_path / "out")
    for folder in (out, out / "people" / "person_2", out / "people" / "person_3"):
        for name in ("truth.npz", "truth.mot", "truth.trc", "truth_events.csv"):
            assert (folder / name).is_file(), (folder, name)
