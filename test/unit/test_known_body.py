"""A body that becomes known while the person walks: the trial, the new start with it, and forgetting it again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_pipeline import CAUSAL_MM, CONFIG, causal, check_sense, errors_mm, frames_of, scene, smoothed

from biomech_fit.core.keypoint_noise import KeypointNoise
from biomech_fit.core.types import Status
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.formats.model import load_body_model
from biomech_fit.formats.subject import subject_from_estimate
from biomech_fit.sim.cameras import perturbed
from biomech_fit.stream.device import count_compilations
from biomech_fit.stream.noise import learned_noise
from biomech_fit.stream.noise_model import noise_before
from biomech_fit.stream.pipeline import FitPipeline
from biomech_fit.stream.slow_states import SUBJECT_OFFSET_STD_M, SUBJECT_SCALE_STD
from biomech_fit.stream.subject_trial import SubjectTrial


@pytest.fixture(scope="module")
def pipeline() -> FitPipeline:
    s = scene()
    pipeline = FitPipeline(s.body, s.cameras, s.keypoint_set, CONFIG)
    pipeline.compile()
    return pipeline


def test_a_trial_fixes_the_body_while_the_person_walks_on(pipeline: FitPipeline) -> None:
    """One second of trial: nobody is lost, no smoothed frame is missing, nothing is compiled, and what was learned is the new prior."""
    s, trial, results, learned = scene(), SubjectTrial(1.0), [], None
    fresh = pipeline.subject()
    with count_compilations() as compilations:
        for packet in s.packets():
            pipeline.feed_keypoints(packet)
            new = pipeline.poll()
            results += new
            if learned is None and trial.add(new):
                learned, at_ns = pipeline.subject(), new[-1].stamp_ns
                results += pipeline.set_subject(subject_from_estimate(learned, s.body, s.keypoint_set.name, "Ada"))
                assert pipeline.subject().name == "Ada"
        results += pipeline.flush()
    assert compilations.count == 0 and learned is not None and at_ns == pytest.approx(1.0e9, abs=1e8)
    for estimate in causal(results) + smoothed(results):
        check_sense(pipeline, estimate)
    assert [e.status for e in causal(results)] == [Status.OK] * frames_of(s)
    late = [e.stamp_ns for e in smoothed(results)]
    assert sorted(late) == [e.stamp_ns for e in causal(results)]
    after = [e for e in causal(results) if e.stamp_ns > at_ns]
    assert np.nanmedian(errors_mm(after[:5], s, 0.0)) < CAUSAL_MM
    # What is known is kept: closer than two standard deviations, and not less sure.
    now = pipeline.subject()
    assert np.all(now.scale_std < 1.01 * learned.scale_std) and np.all(learned.scale_std < fresh.scale_std)
    assert np.all(np.abs(now.scales - learned.scales) < 2 * learned.scale_std)
    assert now.covariance is not None and now.covariance.shape == (15 + 3 * 26,) * 2


def test_the_known_body_is_there_at_the_next_start_and_can_be_forgotten(pipeline: FitPipeline) -> None:
    s = scene()
    pipeline.reset()
    packets = [p for p in s.packets() if p.stamp_ns < 0.2e9]
    for packet in packets:
        pipeline.feed_keypoints(packet)
        pipeline.poll()
    assert np.abs(pipeline.subject().scales).max() > 0.02 and pipeline.subject().name == "Ada"
    pipeline.reset(subject=True)
    unknown = FitPipeline(s.body, s.cameras, s.keypoint_set, CONFIG).subject()
    again = pipeline.subject()
    assert again.name == ""
    np.testing.assert_array_equal(again.scales, unknown.scales)
    np.testing.assert_allclose(again.scale_std, unknown.scale_std)
    np.testing.assert_allclose(again.keypoint_offset_std, unknown.keypoint_offset_std)


def test_a_base_model_says_what_to_expect_of_everybody() -> None:
    """Sizes, offsets and the detector's noise of a base model: for each person, still after the first one's body is forgotten, and beneath a known body."""
    s = scene()
    config = replace(CONFIG, stream=replace(CONFIG.stream, max_people=2))
    plain = FitPipeline(s.body, s.cameras, s.keypoint_set, config)
    expected = replace(plain.subject(), scales=np.full(15, 0.02), scale_std=np.full(15, 0.01), covariance=None)
    noise = KeypointNoise({"Nose": 8.0, "LAnkle": 2.0}, (0.2, 0.9), (2.0, 1.0), 0.02)
    base = replace(subject_from_estimate(expected, s.body, s.keypoint_set.name), people=8, noise=noise)
    pipeline = FitPipeline(s.body, s.cameras, s.keypoint_set, config, base)
    confidence = np.full((len(s.cameras), 26), 0.9)
    for _ in range(2):
        for person in (1, 2):
            body, sigma = pipeline.subject(person), pipeline._people.tracks[person - 1].tracker.noise.sigma_px(confidence)
            np.testing.assert_allclose(body.scales, 0.02)
            np.testing.assert_allclose(body.scale_std, 0.01, rtol=1e-3)
            # Of a keypoint that the base model lacks: the geometric mean of the others.
            known = [sigma[0, s.body.keypoint_names.index(name)] for name in ("Nose", "LAnkle", "RKnee")]
            np.testing.assert_allclose(known, [8.0, 2.0, 4.0])
        ada = replace(expected, scales=np.full(15, -0.03), scale_std=np.full(15, 0.002))
        pipeline.set_subject(subject_from_estimate(ada, s.body, s.keypoint_set.name, "Ada"))
        assert pipeline.subject().name == "Ada"
        np.testing.assert_allclose(pipeline.subject().scales, -0.03)
        np.testing.assert_allclose(pipeline.subject(2).scales, 0.02)
        pipeline.reset(subject=True)


def test_noise_that_was_thought_of_before_counts_until_something_is_seen() -> None:
    """Two keypoints thought to be off by 8 and 2 px that are off by 4 and 4: ten frames of four cameras leave the prior most of the say, 400 hardly any."""
    names, config, rng = ("a", "b"), CONFIG.noise, np.random.default_rng(0)
    before = noise_before(config, 4, names, KeypointNoise({"a": 8.0, "b": 2.0}, (0.5,), (1.0,), 0.0))
    sigma = []
    for frames in (10, 400):
        errors = 4.0 * rng.standard_normal((frames, 4, 2, 2))
        learned = learned_noise(config, before, errors, np.full((frames, 4, 2), 0.5), np.arange(frames) * 16_666_667)
        assert learned is not None
        sigma.append(learned.sigma_px(np.full((4, 2), 0.5), config.pixel_sigma_px).mean(0))
    assert sigma[0][0] > 2 * sigma[0][1]
    np.testing.assert_allclose(sigma[1], 4.0, rtol=0.15)
    told = learned.of_detector(names, np.array([True, False]), config.pixel_sigma_px)
    assert set(told.sigma_px) == {"a"}
    again = noise_before(config, 4, names, told).sigma_px(np.full((4, 2), 0.5), config.pixel_sigma_px)
    np.testing.assert_allclose(again[:, 0], sigma[1][0], rtol=0.05)


def test_what_is_not_estimated_stays_where_the_subject_has_it() -> None:
    """With refine.scales off the subject's sizes are held, and what its correlations say of the offsets at these sizes is used."""
    s = scene()
    rng = np.random.default_rng(0)
    size = len(s.body.scale_names) + 3 * len(s.body.keypoint_names)
    root = rng.standard_normal((size, size)) * 0.01
    held = replace(CONFIG, refine=replace(CONFIG.refine, scales=False))
    pipeline = FitPipeline(s.body, s.cameras, s.keypoint_set, held)
    plain = pipeline.subject()
    estimate = replace(plain, scales=np.full(len(plain.scales), 0.03), covariance=root @ root.T + 1e-6 * np.eye(size))
    std = np.sqrt(np.diag(estimate.covariance))
    count = len(plain.scales)
    estimate = replace(estimate, scale_std=std[:count], keypoint_offset_std=std[count:].reshape(-1, 3))
    pipeline.set_subject(subject_from_estimate(estimate, s.body, s.keypoint_set.name))
    got = pipeline.subject()
    np.testing.assert_allclose(got.scales, 0.03)
    assert got.scale_std.max() < 1e-3 and got.covariance is not None
    # Gaussian conditioning: the offsets' covariance given the scales.
    full = estimate.covariance + np.diag(np.r_[np.full(count, SUBJECT_SCALE_STD), np.full(size - count, SUBJECT_OFFSET_STD_M)] ** 2)
    given = full[count:, count:] - full[count:, :count] @ np.linalg.solve(full[:count, :count], full[:count, count:])
    np.testing.assert_allclose(got.covariance[count:, count:], given, rtol=0.02, atol=1e-7)


def test_what_the_model_says_of_a_keypoint_counts_in_every_set() -> None:
    """The hips' 10 mm and the points without a word of their own, 15 mm, whatever else is in the set; the setting changes all alike."""
    for name in ("halpe_26", "movi_87"):
        body = load_body_model(None, load_keypoint_set(name))
        for setting, factor in ((0.015, 1.0), (0.03, 2.0)):
            config = replace(CONFIG, priors=replace(CONFIG.priors, keypoint_offset_std_m=setting))
            std = FitPipeline(body, scene().cameras, load_keypoint_set(name), config).subject().keypoint_offset_std
            here = body.keypoint_body >= 0
            np.testing.assert_allclose(std[here], factor * np.repeat(body.keypoint_offset_std[here, None], 3, 1), rtol=1e-4)


def test_how_wrong_the_calibration_is_sets_how_firmly_it_is_held() -> None:
    """The same walk with the true cameras and with cameras off by 0.6 degrees and 25 mm: of the good calibration less is thought to be wrong, and with it
    less of the rig's own place; the poor one is held as loosely as configured, or more so."""
    spreads, placements = [], []
    for off in (0.0, 1.0):
        s = scene()
        given = perturbed(s.cameras, np.random.default_rng(4), np.deg2rad(0.6) * off, 0.025 * off)
        pipeline = FitPipeline(s.body, given, s.keypoint_set, CONFIG)
        pipeline.compile()
        for packet in s.packets():
            pipeline.feed_keypoints(packet)
            pipeline.poll()
        tracker = pipeline.tracker
        spreads.append(tracker.states.spread)
        placements.append(np.trace(tracker.states.placement.covariance[:3, :3]))
    assert spreads[0] < 0.25 and spreads[1] > 0.5
    assert placements[1] / placements[0] == pytest.approx(spreads[1] / spreads[0], rel=1e-6)
