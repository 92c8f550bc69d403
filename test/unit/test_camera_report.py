"""What is said of each camera: one sentence for each thing that can be wrong, and nothing of what is over."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from core_example import ring

from biomech_fit.config.fit import RefineConfig
from biomech_fit.core.camera import Camera
from biomech_fit.core.estimates import CalibrationEstimate, CameraFit
from biomech_fit.stream.camera_report import CameraReport, correction
from biomech_fit.stream.camera_state import CameraHealth

CAMERAS = ring(4)
HEALTH = CameraHealth(True, 60.0, 1, received=600, late=2, duplicates=0, lost=3, bad_stamps=0, lead_s=-0.002, clock_offset_s=0.0)


def estimate(cameras: list[Camera] = CAMERAS, **changes: object) -> CalibrationEstimate:
    count = len(CAMERAS)
    fine = CalibrationEstimate(
        1, tuple(cameras), tuple(CAMERAS), (True,) * count, np.zeros((count, 6, 6)), np.zeros(count), np.full(count, 0.001), np.full(count, 6.0),
        np.full(count, 7.0),
    )  # fmt: skip
    return replace(fine, **changes)


def rows(report: CameraReport, health: CameraHealth = HEALTH, said: CalibrationEstimate | None = None) -> list[tuple[int, str, str, dict]]:
    """The second camera's health is `health`, the others are fine."""
    return report.rows({c.name: health if i == 1 else HEALTH for i, c in enumerate(CAMERAS)}, said or estimate())


def moved(camera: Camera, degrees: float, metres: float) -> Camera:
    rotation = cv2.Rodrigues(np.radians(degrees) * np.array([0.6, 0.0, 0.8]))[0] @ camera.rotation
    return replace(camera, rotation=rotation, translation=-rotation @ (camera.centre + np.array([0.0, metres, 0.0])))


@pytest.fixture
def report() -> CameraReport:
    return CameraReport(RefineConfig())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"alive": False}, "stopped sending"),
        ({"alive": False, "received": 0}, "sent nothing yet"),
        ({"late": 60, "lead_s": -0.05}, r"too late: 60 of 600 were dropped. They arrive 50 ms after"),
        ({"late": 60, "lead_s": 0.003}, "60 of 600 were dropped. stream.deadline_s says"),
        ({"lost": 100}, "loses frames: 100 of 700"),
        ({"bad_stamps": 4}, "stamps are far from the other cameras': 4 packets"),
        ({"alive": False, "bad_stamps": 4}, "stamps are far from the other cameras': 4 packets"),
    ],
)
def test_what_is_wrong_with_the_stream(report: CameraReport, change: dict, words: str) -> None:
    got = rows(report, replace(HEALTH, **change))
    assert [row[0] for row in got] == [0, 1, 0, 0] and got[1][1] == f"camera {CAMERAS[1].name}"
    assert words in got[1][2] and got[0][2] == "The camera sends keypoints."


def test_what_is_over_is_not_said_again(report: CameraReport) -> None:
    bad = replace(HEALTH, late=60, lost=100, bad_stamps=5)
    assert rows(report, bad)[1][0] == 1
    assert rows(report, replace(bad, received=700))[1][0] == 0
    assert rows(report, replace(bad, received=760, late=90))[1][0] == 1
    fresh = replace(HEALTH, received=20, late=5, lost=0, bad_stamps=0)  # after a restart of the stream
    assert "5 of 20" in rows(report, fresh)[1][2]


@pytest.mark.parametrize(("degrees", "metres", "far"), [(2.5, 0.0, True), (0.0, 0.12, True), (0.9, 0.03, False), (1e-7, 0.0, False)])
def test_a_moved_tripod(report: CameraReport, degrees: float, metres: float, far: bool) -> None:
    """Beyond two and a half of the prior's standard deviations: 1 degree, 37 mm."""
    said = estimate([moved(c, degrees, metres) if i == 1 else c for i, c in enumerate(CAMERAS)])
    assert correction(said, 1) == pytest.approx((degrees, metres), abs=1e-6)
    got = rows(report, said=said)
    assert [row[0] for row in got] == [0, int(far), 0, 0]
    assert ("far from its loaded calibration" in got[1][2]) == far
    assert got[1][3]["moved_mm"] == pytest.approx(1e3 * metres, abs=0.1)


def test_a_camera_that_does_not_fit(report: CameraReport) -> None:
    error = np.array([6.0, 45.0, 5.0, np.nan])
    got = rows(report, said=estimate(reprojection_rms_px=error))
    assert [row[0] for row in got] == [0, 1, 0, 0] and "45 px from the body, theirs 6 px" in got[1][2]
    assert "reprojection_px" not in got[3][3]
    alone = rows(report, said=estimate(reprojection_rms_px=np.array([np.nan, 45.0, np.nan, np.nan])))
    assert not any(row[0] for row in alone)


def test_a_clock_offset_is_said_where_it_is_sure(report: CameraReport) -> None:
    offset, std = np.array([0.025, -0.02, 0.02, 0.001]), np.array([0.001, 0.002, 0.01, 0.0001])
    got = rows(report, said=estimate(time_offset_s=offset, time_offset_std_s=std))
    assert "25 ms after its stamps" in got[0][2] and "20 ms before its stamps" in got[1][2] and got[0][0] == 0
    assert got[2][2] == got[3][2] == "The camera sends keypoints."
    assert got[0][3]["clock_offset_ms"] == 25.0 and got[0][3]["clock_offset_std_ms"] == 1.0
    unknown = rows(report, said=estimate(time_offset_s=offset, time_offset_std_s=np.full(4, np.nan)))
    assert unknown[0][2] == "The camera sends keypoints."


def test_a_moved_camera_is_said_to_be_found_or_left_out(report: CameraReport) -> None:
    cameras = [*CAMERAS]
    cameras[1] = moved(CAMERAS[1], 2.0, 0.1)
    fine = [CameraFit.FINE] * len(CAMERAS)
    sentences = {
        CameraFit.MOVED: "where it stands now has been estimated, turned by 2.0 deg and moved by 100 mm",
        CameraFit.LEFT_OUT: "is left out",
        CameraFit.PUSHED: "was pushed, or its clock was set; both have been estimated anew, turned by 2.0 deg",
    }
    for fit, words in sentences.items():
        said = estimate(cameras, fits=(fine[0], fit, *fine[2:]))
        got = rows(report, said=said)
        assert [row[0] for row in got] == [0, 1, 0, 0] and words in got[1][2]


def test_a_detector_that_confuses_the_sides(report: CameraReport) -> None:
    """Told while it does, as a remark; counted for ever."""
    health = {c.name: HEALTH for c in CAMERAS}
    first = report.rows(health, estimate(), np.array([0, 60, 6, 0]))
    assert [row[0] for row in first] == [0] * 4 and "undone in 60 of 600 frames" in first[1][2] and "undone" not in first[2][2]
    later = report.rows({name: replace(one, received=1200) for name, one in health.items()}, estimate(), np.array([0, 60, 6, 0]))
    assert "undone" not in later[1][2] and later[1][3]["swaps_undone"] == 60
