"""Half a second of standing makes a subject, and with it the first steps are more accurate: `track STATIC`, then `track WALK --subject`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from biomech_fit.cli.main import main
from biomech_fit.formats.subject import read_subject
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.simulate import simulate
from biomech_fit.sim.write import write

PERSON = {"seed": 2, "cameras": 3, "frame_rate_hz": 30.0}
SETTINGS = "window: {frames: 12, lag_s: 0.2}\n"  # small, so that it compiles quickly


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings of one person (the simulator draws the person from the seed alone) and what `track` makes of them."""
    folder = tmp_path_factory.mktemp("person")
    write(simulate(SimConfig(seconds=0.5, standing=0.5, **PERSON)), folder / "static")
    write(simulate(SimConfig(seconds=1.0, **PERSON)), folder / "walk")
    (folder / "settings.yaml").write_text(SETTINGS)
    known = ["--subject", str(folder / "subject" / "subject.yaml")]
    for recording, out, more in (("static", "subject", []), ("walk", "unknown", []), ("walk", "known", known)):
        where = [str(folder / recording), "-o", str(folder / out), "--config", str(folder / "settings.yaml"), "--no-report"]
        assert main(["track", *where, *more]) == 0
    return folder


def error_mm(folder: Path, run: str, until_s: float) -> float:
    """Median over the keypoints and the frames before `until_s`, causal, against what the detector aims at."""
    got, truth = np.load(folder / run / "estimates.npz"), np.load(folder / "walk" / "truth.npz")
    early = got["time_s"] < until_s
    error = np.linalg.norm(got["keypoints"][early] - truth["keypoints"][: len(got["time_s"])][early], axis=-1)
    return 1e3 * float(np.nanmedian(error))


def test_the_first_frames_are_more_accurate(folder: Path) -> None:
    """Measured: 10.8 mm without and 9.5 mm with the subject over 0.15 s, 9.9 and 9.5 mm over 1 s; half of the gain is asked for. (An earlier
    version: 15.4 and 12.9, 11.5 and 10.7 mm.)"""
    assert error_mm(folder, "known", 0.15) < 0.92 * error_mm(folder, "unknown", 0.15)
    assert error_mm(folder, "known", 1.0) < 0.98 * error_mm(folder, "unknown", 1.0)


def test_the_file_knows_sums_better_than_parts(folder: Path) -> None:
    """Standing still leaves size and offsets uncertain each, but not their combinations: that is what the correlations are there for."""
    subject = read_subject(folder / "subject" / "subject.yaml")
    assert subject.correlation is not None
    assert np.linalg.eigvalsh(subject.correlation)[0] < 0.05
    assert (folder / "subject" / "subject.yaml").stat().st_size < 100_000
    # The walk adds to what is known, and stays compatible with it.
    after = read_subject(folder / "known" / "subject.yaml")
    for name, scale in subject.scales.items():
        assert after.scales[name].std < 1.01 * scale.std
        assert abs(after.scales[name].value - scale.value) < 3 * scale.std
