"""rosbag2 recordings: round trip, decoding details, damaged bags."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from biomech_fit.core.camera import Camera
from biomech_fit.core.errors import InputError
from biomech_fit.core.types import KeypointPacket
from biomech_fit.formats.bag import _storage_files
from biomech_fit.formats.bag_writer import write_bag_recording
from biomech_fit.formats.calibration import write_calibration
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.formats.recording import open_recording

COCO = load_keypoint_set("coco_17")
MATRIX = np.array([[900.0, 0, 640], [0, 900, 360], [0, 0, 1]])
CAMERAS = [Camera(f"cam_{i:02d}", 1280, 720, MATRIX, "none", np.zeros(0), np.eye(3), np.array([0.1 * i, 0, 3.0])) for i in (1, 2)]
T0 = 1_700_000_000_000_000_000


def make_packets(frames: int = 30, people: int = 2, rate: float = 60.0) -> list[KeypointPacket]:
    rng = np.random.default_rng(1)
    packets = []
    for f in range(frames):
        for c, camera in enumerate(CAMERAS):
            stamp = T0 + round(f * 1e9 / rate) + c * 1000
            xy, confidence = rng.uniform(10, 700, (people, 17, 2)).astype(np.float32), rng.uniform(0.1, 1, (people, 17)).astype(np.float32)
            xy[0, 3], confidence[0, 3] = np.nan, 0
            packets.append(KeypointPacket(camera.name, stamp, xy, confidence, np.arange(people, dtype=np.int32), stamp + 5_000_000))
    return packets


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("as_file", [False, True])
def test_round_trip(tmp_path: Path, storage: str, as_file: bool) -> None:
    packets = make_packets()
    assert write_bag_recording(tmp_path / "bag", CAMERAS, COCO, packets, storage) == len(packets)
    path = next(p for p in (tmp_path / "bag").iterdir() if p.suffix in (".mcap", ".db3")) if as_file else tmp_path / "bag"
    recording = open_recording(path)
    assert recording.keypoint_set.name == "coco_17" and recording.frame_rate_hz == 60 and recording.frame_count == 30
    assert [c.name for c in recording.cameras] == ["cam_01", "cam_02"] and not recording.notices
    for _ in range(2):  # may be read again
        for got, sent in zip(recording.packets(), packets, strict=True):
            assert (got.camera, got.stamp_ns, got.received_ns) == (sent.camera, sent.stamp_ns, sent.received_ns)
            np.testing.assert_array_equal(got.xy, sent.xy)
            np.testing.assert_array_equal(got.confidence, sent.confidence)
            np.testing.assert_array_equal(got.person_ids, sent.person_ids)


def test_no_person_keeps_the_frame(tmp_path: Path) -> None:
    packets = make_packets(5)
    packets[2] = replace(packets[2], xy=np.zeros((0, 17, 2)), confidence=np.zeros((0, 17)), person_ids=np.zeros(0, np.int32))
    write_bag_recording(tmp_path / "bag", CAMERAS, COCO, packets)
    assert list(open_recording(tmp_path / "bag").packets())[2].xy.shape == (0, 17, 2)


def test_bad_confidence_is_missing_and_counted(tmp_path: Path) -> None:
    packets = make_packets(5, people=1)
    for value, packet in zip((np.nan, -1.0, np.inf, 3.0), packets, strict=False):
        packet.confidence[0, 0] = value
    write_bag_recording(tmp_path / "bag", CAMERAS, COCO, packets)
    recording = open_recording(tmp_path / "bag")
    read = list(recording.packets())
    assert [p.confidence[0, 0] for p in read[:4]] == [0, 0, 0, 1] and np.isnan(read[0].xy[0, 0]).all()
    text = " ".join(recording.notices)
    assert "2 confidences are NaN" in text and "cam_02" in text and "above 1" in text


def test_wrong_array_lengths_and_sets(tmp_path: Path) -> None:
    packets = make_packets(10)
    packets[4] = replace(packets[4], xy=packets[4].xy[:, :5])
    write_bag_recording(tmp_path / "bag", CAMERAS, COCO, packets)
    recording = open_recording(tmp_path / "bag")
    assert len(list(recording.packets())) == len(packets) - 1
    assert any("2 people with 17 keypoints (coco_17) need 68 numbers in xy and 34 in confidence, not 20 and 34" in n for n in recording.notices)
    with pytest.raises(InputError, match=r"need 104 numbers in xy"):
        open_recording(tmp_path / "bag", keypoint_set="halpe_26")
    with pytest.raises(InputError, match=r"Unknown keypoint set.*coco_17"):
        open_recording(tmp_path / "bag", keypoint_set="coco_71")
    write_bag_recording(tmp_path / "foreign", CAMERAS, replace(COCO, name="my_own"), make_packets(3))
    with pytest.raises(InputError, match=r"Unknown keypoint set"):
        open_recording(tmp_path / "foreign")


def test_different_clocks_and_missing_stamps(tmp_path: Path) -> None:
    packets = [replace(p, stamp_ns=p.stamp_ns - T0 + 1_000_000) for p in make_packets(10)]
    write_bag_recording(tmp_path / "sim_time", CAMERAS, COCO, packets)
    recording = open_recording(tmp_path / "sim_time")
    assert all(p.received_ns is None for p in recording.packets()) and any("different clocks" in n for n in recording.notices)


@pytest.mark.parametrize("keep", [0.4, 0.8, 0.999])
def test_truncated_mcap_gives_its_readable_part_or_one_sentence(tmp_path: Path, keep: float) -> None:
    write_bag_recording(tmp_path / "bag", CAMERAS, COCO, make_packets(3000, people=3))
    file = next((tmp_path / "bag").glob("*.mcap"))
    data = file.read_bytes()
    file.write_bytes(data[: int(keep * len(data))])
    recording = open_recording(tmp_path / "bag")
    count = len(list(recording.packets()))
    assert 0 < count <= 6000 and any("truncated or damaged" in n for n in recording.notices)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("keep", [0, 7, 100, 5000])
def test_hopeless_bags_are_one_sentence(tmp_path: Path, storage: str, keep: int) -> None:
    write_bag_recording(tmp_path / "bag", CAMERAS, COCO, make_packets(30), storage)
    file = next(p for p in (tmp_path / "bag").iterdir() if p.suffix in (".mcap", ".db3"))
    file.write_bytes(file.read_bytes()[:keep])
    for path in (tmp_path / "bag", file):
        with pytest.raises(InputError, match=r"^The bag [^\n]*\.$"):
            open_recording(path)


def test_bag_without_metadata(tmp_path: Path) -> None:
    write_bag_recording(tmp_path / "bag", CAMERAS, COCO, make_packets(10))
    (tmp_path / "bag" / "metadata.yaml").unlink()
    recording = open_recording(tmp_path / "bag")
    assert len(list(recording.packets())) == 20 and any("no metadata.yaml" in n for n in recording.notices)


def test_calibration_of_a_bag(tmp_path: Path) -> None:
    write_bag_recording(tmp_path / "rec" / "bag", CAMERAS, COCO, make_packets(3))
    (tmp_path / "rec" / "bag" / "Calib.toml").rename(tmp_path / "rec" / "Calib_room.toml")
    assert open_recording(tmp_path / "rec" / "bag").calibration.path == tmp_path / "rec" / "Calib_room.toml"
    text = (tmp_path / "rec" / "Calib_room.toml").read_text()
    (tmp_path / "one.toml").write_text(text[: text.index("[cam_02]")])
    with pytest.raises(InputError, match=r"no camera for the camera cam_02: keypoints come from cam_01, cam_02; the calibration has cam_01\."):
        open_recording(tmp_path / "rec" / "bag", calibration=tmp_path / "one.toml")
    wider = [replace(c, matrix=c.matrix * [[1.1], [1.1], [1]]) for c in CAMERAS]
    write_calibration(tmp_path / "wider.toml", wider)
    notices = open_recording(tmp_path / "rec" / "bag", calibration=tmp_path / "wider.toml").notices
    assert [n for n in notices if "camera_info differs" in n] == [
        f"Camera '{c.name}': the bag's camera_info differs from the calibration, which is used." for c in CAMERAS
    ]
    with pytest.raises(InputError, match=r"exists already"):
        write_bag_recording(tmp_path / "rec" / "bag", CAMERAS, COCO, [])


def test_parts_of_a_bag_come_in_the_order_in_which_they_were_written(tmp_path: Path) -> None:
    for k in range(12):
        (tmp_path / f"rec_{k}.mcap").touch()
    assert [f.name for f in _storage_files(tmp_path)] == [f"rec_{k}.mcap" for k in range(12)]
