"""A written simulation reads back as the same recording, and its truth as the same truth; the command line takes every setting."""

import argparse
import csv
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from biomech_fit.cli.simulate import add_parser, config_from_arguments
from biomech_fit.config.load import from_mapping
from biomech_fit.core.errors import InputError
from biomech_fit.formats.calibration import read_calibration
from biomech_fit.formats.mot import read_mot
from biomech_fit.formats.recording import open_recording
from biomech_fit.formats.trc import read_trc
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.simulate import Simulation, simulate
from biomech_fit.sim.write import write

ERRORS = {"calibration_rotation_deg": 0.5, "calibration_translation_mm": 20.0, "packet_loss": 0.05}
CONFIG = SimConfig(seconds=1.5, cameras=3, seed=7, strangers=1, frame_rate_hz=50.0, **ERRORS)
DOCS = Path(__file__).resolve().parents[2] / "docs" / "simulator.md"


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Simulation, Path]:
    sim = simulate(CONFIG)
    return sim, write(sim, tmp_path_factory.mktemp("sim") / "out")


def test_the_recording_reads_back(written):
    sim, folder = written
    recording = open_recording(folder)
    assert recording.keypoint_set.names == sim.keypoint_set.names
    assert recording.frame_rate_hz == 50.0
    assert [c.name for c in recording.cameras] == ["cam01", "cam02", "cam03"]
    for ours, theirs in zip(sim.cameras, recording.cameras, strict=True):
        assert theirs.rotation == pytest.approx(ours.rotation, abs=1e-9)
        assert theirs.translation == pytest.approx(ours.translation, abs=1e-9)
    sent = {(p.camera, p.stamp_ns): p for p in sim.packets()}
    read = list(recording.packets())
    assert len(read) == len(sent) < 3 * 75
    for packet in read:
        ours = sent[packet.camera, packet.stamp_ns]
        np.testing.assert_allclose(packet.xy, ours.xy, atol=1e-3)
        np.testing.assert_allclose(packet.confidence, ours.confidence, atol=1e-3)


def test_the_truth_reads_back(written):
    sim, folder = written
    truth = sim.truth
    stored = np.load(folder / "truth.npz", allow_pickle=False)
    np.testing.assert_array_equal(stored["keypoints"], truth.keypoints)
    assert stored["coordinate_names"].tolist() == list(truth.coordinate_names)
    frames, keypoints, cameras = 75, 26, 3
    shapes = {
        "time_s": (frames,),
        "stamp_ns": (frames,),
        "coordinates": (frames, len(truth.coordinate_names)),
        "keypoints_model": (frames, keypoints, 3),
        "camera_rotation": (cameras, 3, 3),
        "camera_translation": (cameras, 3),
        "clock_offset_s": (cameras,),
        "keypoint_offsets": (keypoints, 3),
        "event_position": (len(truth.events), 3),
    }
    assert {name: stored[name].shape for name in shapes} == shapes
    motion = read_mot(folder / "truth.mot")
    assert list(motion.names) == list(truth.coordinate_names)
    np.testing.assert_allclose(motion.values, truth.coordinates, atol=1e-7)
    points = read_trc(folder / "truth.trc")
    np.testing.assert_allclose(points.points, truth.keypoints, atol=1e-5)
    with (folder / "truth_events.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == len(truth.events) > 2
    assert list(rows[0]) == ["time_s", "side", "event", "x_m", "y_m", "z_m"]
    assert {r["event"] for r in rows} == {"initial_contact", "final_contact"} and {r["side"] for r in rows} == {"left", "right"}
    true = read_calibration(folder / "truth" / "Calib_true.toml").cameras
    assert true[0].rotation == pytest.approx(sim.true_cameras[0].rotation, abs=1e-9)


def test_the_stored_settings_give_the_same_simulation(written):
    sim, folder = written
    settings = from_mapping(yaml.safe_load((folder / "truth" / "simulation.yaml").read_text()), SimConfig())
    assert settings == CONFIG
    np.testing.assert_array_equal(simulate(settings).truth.coordinates, sim.truth.coordinates)


def test_an_earlier_simulation_is_replaced_and_a_recording_is_not(tmp_path):
    write(simulate(replace(CONFIG, seconds=0.5)), tmp_path / "a")
    write(simulate(replace(CONFIG, seconds=0.3, cameras=2)), tmp_path / "a")
    recording = open_recording(tmp_path / "a")
    assert recording.frame_count == 15 and len(recording.cameras) == 2
    (tmp_path / "real" / "pose").mkdir(parents=True)
    with pytest.raises(InputError, match="not a simulation"):
        write(simulate(replace(CONFIG, seconds=0.3)), tmp_path / "real")


def _parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return parser.parse_args(["simulate", *words])


def test_the_command_line_takes_every_setting(tmp_path, capsys):
    arguments = _parse(str(tmp_path / "o"), "--seconds", "0.5", "--cameras", "2", "--silent-camera", "-1", "--path", "circle")
    assert config_from_arguments(arguments) == SimConfig(seconds=0.5, cameras=2, path="circle")
    assert arguments.run(arguments) == 0
    assert "2 cameras" in capsys.readouterr().out
    assert (tmp_path / "o" / "truth.mot").is_file()
    for entry in fields(SimConfig):
        assert hasattr(arguments, entry.name)


@pytest.mark.parametrize(("words", "message"), [(("--cameras", "x"), "cameras is 'x'"), (("--sigma-px", "-3"), "sigma_px"), (("--path", "q"), "shuttle")])
def test_the_command_line_names_what_is_wrong(words, message):
    with pytest.raises(InputError, match=message):
        config_from_arguments(_parse("o", *words))


def test_every_setting_is_documented():
    text = DOCS.read_text()
    for entry in fields(SimConfig):
        assert f"| `{entry.name}` | " in text
        assert entry.metadata["doc"] in text, f"docs/simulator.md says something else about {entry.name}"
