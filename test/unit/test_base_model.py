"""A base model learned from many people, against made-up people whose common offset and spread are known; and the farm that fits them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from biomech_fit.core.errors import InputError
from biomech_fit.core.keypoint_noise import KeypointNoise
from biomech_fit.offline.base_model import Evidence, Spread, evidence, learn_base
from biomech_fit.offline.base_noise import learn_noise
from biomech_fit.offline.farm import Job, run_jobs

SCALES, KEYPOINTS = 3, 4
SIZE = SCALES + 3 * KEYPOINTS
MODEL = Spread(np.zeros(SIZE), np.diag(np.r_[np.full(SCALES, 0.08), np.full(3 * KEYPOINTS, 0.015)] ** 2))


def people(count: int, common: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, list[Evidence]]:
    """Their true bodies, and what data say of them: some directions well, a third not at all."""
    spread = np.r_[np.full(SCALES, 0.05), np.full(3 * KEYPOINTS, 0.004)]
    bodies = common + spread * rng.standard_normal((count, SIZE))
    found = []
    for body in bodies:
        directions, _ = np.linalg.qr(rng.standard_normal((SIZE, SIZE)))
        known = np.r_[np.full(2 * SIZE // 3, 0.003**-2), np.zeros(SIZE - 2 * SIZE // 3)]
        information = (directions * known) @ directions.T
        noise = directions[:, known > 0] @ (0.003 * rng.standard_normal((known > 0).sum()))
        found.append(Evidence(information, information @ (body + noise)))
    return bodies, found


def posterior(told: Evidence, prior: Spread) -> np.ndarray:
    precision = np.linalg.inv(prior.covariance)
    return np.linalg.solve(told.information + precision, told.vector + precision @ prior.mean)


def test_a_prior_is_taken_out_of_a_posterior() -> None:
    """Evidence and prior together give the posterior back."""
    rng = np.random.default_rng(1)
    _, (told,) = people(1, np.zeros(SIZE), rng)
    prior = Spread(0.01 * rng.standard_normal(SIZE), MODEL.covariance)
    precision = np.linalg.inv(prior.covariance)
    covariance = np.linalg.inv(told.information + precision)
    again = evidence(covariance @ (told.vector + precision @ prior.mean), covariance, prior)
    np.testing.assert_allclose(again.information, told.information, atol=1e-6 * told.information.max())
    np.testing.assert_allclose(again.vector, told.vector, atol=1e-6 * np.abs(told.vector).max())


def test_the_common_offset_is_found_and_helps_the_next_person() -> None:
    """Twelve people with 10 mm in common and 4 mm of their own; of each, every third direction of the body is unknown. People who were not among them are
    then placed better by at least a quarter, and what is said of the common mean covers it."""
    rng = np.random.default_rng(2)
    common = np.r_[np.full(SCALES, 0.03), 0.010 / np.sqrt(3) * rng.standard_normal(3 * KEYPOINTS)]
    _, told = people(12, common, rng)
    base, mean = learn_base(told, MODEL, SCALES)
    z = (mean.mean - common) / np.sqrt(np.diag(mean.covariance))
    assert np.sqrt(np.mean(z**2)) < 1.5
    bodies, others = people(30, common, rng)
    before, after = (np.sqrt(np.mean([(posterior(o, p) - b)[SCALES:] ** 2 for o, b in zip(others, bodies, strict=True)])) for p in (MODEL, base))
    assert after < 0.75 * before


def test_what_nobody_shows_is_left_to_the_model() -> None:
    """Ten people with a common bias; nobody's data tell anything of the last keypoint. The bias is found at the others; there the mean stays the model's, and
    what is said of the next person is as wide as if nobody had been seen."""
    rng = np.random.default_rng(3)
    common = np.r_[np.zeros(SCALES), 0.008 * rng.choice((-1.0, 1.0), 3 * KEYPOINTS)]
    shown = np.r_[np.full(SCALES, 0.01**-2), np.full(3 * KEYPOINTS, 0.0005**-2)]
    shown[-3:] = 0.0
    bodies = common + np.r_[np.full(SCALES, 0.02), np.full(3 * KEYPOINTS, 0.002)] * rng.standard_normal((10, SIZE))
    base, mean = learn_base([Evidence(np.diag(shown), shown * body) for body in bodies], MODEL, SCALES)
    seen = slice(SCALES, SIZE - 3)
    np.testing.assert_allclose(base.mean[seen], common[seen], atol=0.003)
    np.testing.assert_allclose(base.mean[-3:], 0.0, atol=1e-12)
    nobody, unknown = learn_base([Evidence(np.zeros((SIZE, SIZE)), np.zeros(SIZE))] * 10, MODEL, SCALES)
    np.testing.assert_allclose(np.diag(base.covariance)[-3:], np.diag(nobody.covariance)[-3:], rtol=1e-6)
    np.testing.assert_allclose(np.diag(mean.covariance)[-3:], np.diag(unknown.covariance)[-3:], rtol=1e-6)
    assert np.diag(mean.covariance)[seen].max() < 0.1 * np.diag(unknown.covariance)[seen].min()


def test_noise_on_everybody_is_the_middle_of_all_who_show_the_keypoint() -> None:
    law = ((0.2, 0.8), (2.0, 1.0), 0.02)
    people = [KeypointNoise({"knee": 2.0, "hip": 5.0}, *law), KeypointNoise({"knee": 8.0}, *law), KeypointNoise({"knee": 4.0}, *law)]
    noise, spread = learn_noise(people)
    assert noise.sigma_px == pytest.approx({"knee": 4.0, "hip": 5.0}) and spread == pytest.approx({"knee": np.log(2.0), "hip": 0.0})
    assert (noise.confidence, noise.correlation_time_s) == ((0.2, 0.8), 0.02) and noise.factor == pytest.approx((2.0, 1.0))


def test_jobs_are_run_once_and_a_failure_is_told(tmp_path: Path) -> None:
    """On this machine's workers: two that succeed, one that cannot; the second start only runs what is left."""
    sources = [tmp_path / f"{i}.txt" for i in range(3)]
    for source in sources[:2]:
        source.write_text(source.name)
    jobs = [Job(f"job{i}", tmp_path / f"done{i}", shutil.copyfile, (str(source), str(tmp_path / f"done{i}"))) for i, source in enumerate(sources)]
    said: list[str] = []
    failed = run_jobs(jobs, 1, None, said.append)
    assert set(failed) == {"job2"} and "FileNotFoundError" in failed["job2"]
    assert [job.done.exists() for job in jobs] == [True, True, False]
    jobs[0].done.write_text("kept")
    sources[2].write_text("2.txt")
    assert run_jobs(jobs, 1, None, said.append) == {}
    assert jobs[0].done.read_text() == "kept" and jobs[2].done.read_text() == "2.txt"
    assert any("2 of 3 are done already" in text for text in said)


def test_a_scheduler_that_does_not_answer_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("biomech_fit.offline.farm.CONNECT_S", 0.5)
    with pytest.raises(InputError, match=r"No dask scheduler answers at 'tcp://127\.0\.0\.1:9'"):
        run_jobs([Job("a", tmp_path / "a", shutil.copyfile, ("x", "y"))], 1, "tcp://127.0.0.1:9", lambda _: None)
