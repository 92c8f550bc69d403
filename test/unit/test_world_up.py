"""Which axis of a calibration's world points up, from the person who stands in it (formats/world_up.py)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from biomech_fit.core.camera import Camera
from biomech_fit.formats.world_up import ROTATIONS, fallen_camera, seen_up
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.simulate import Simulation, simulate


@pytest.fixture(scope="module")
def sim() -> Simulation:
    return simulate(SimConfig(seconds=0.5, cameras=4, seed=2))


@pytest.mark.parametrize("up", ROTATIONS)
def test_every_axis_is_told_from_who_walks(sim, up):
    assert seen_up([fallen_camera(camera, up) for camera in sim.cameras], sim.keypoint_set.names, sim.packets()) == up


def test_nothing_is_told_where_cameras_and_body_disagree(sim):
    """All images turned by 180 degrees: a person who hangs head down, or cameras that do. Neither says what is up."""
    size = np.array([sim.cameras[0].width, sim.cameras[0].height])

    def hung(camera: Camera) -> Camera:
        matrix = camera.matrix.copy()
        matrix[:2, 2] = size - matrix[:2, 2]
        turn = np.diag([-1.0, -1.0, 1.0])
        return replace(camera, matrix=matrix, rotation=turn @ camera.rotation, translation=turn @ camera.translation)

    packets = [replace(packet, xy=(size - packet.xy).astype(np.float32)) for packet in sim.packets()]
    assert seen_up([hung(camera) for camera in sim.cameras], sim.keypoint_set.names, packets) is None


def test_nothing_is_told_of_nobody_or_of_two_people(sim):
    packets = list(sim.packets())
    two = [replace(p, xy=p.xy.repeat(2, 0), confidence=p.confidence.repeat(2, 0), person_ids=p.person_ids.repeat(2)) for p in packets]
    nobody = [replace(p, xy=p.xy[:0], confidence=p.confidence[:0], person_ids=p.person_ids[:0]) for p in packets]
    for some in (two, nobody, []):
        assert seen_up(sim.cameras, sim.keypoint_set.names, some) is None
    assert seen_up(sim.cameras, [f"p{k}" for k in range(len(sim.keypoint_set))], packets) is None, "names that say nothing"
