"""subject.yaml: what is written is read back; what is wrong is named."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from biomech_fit.core.body import BodyModel
from biomech_fit.core.errors import InputError
from biomech_fit.core.estimates import SubjectEstimate
from biomech_fit.core.keypoint_noise import KeypointNoise
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.formats.model import load_body_model
from biomech_fit.formats.subject import KeypointOffset, Scale, Subject, read_subject, subject_from_estimate, write_subject
from biomech_fit.stream.fitted_body import FittedBody
from biomech_fit.stream.slow_states import SUBJECT_OFFSET_STD_M, SUBJECT_SCALE_STD


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body_model(None, load_keypoint_set("coco_wholebody_133"))


def estimate_of(body: BodyModel) -> SubjectEstimate:
    rng = np.random.default_rng(0)
    size, points = len(body.scale_names), len(body.keypoint_names)
    return SubjectEstimate(
        stamp_ns=1, name="S01", model=body.name, scale_names=body.scale_names, scales=rng.normal(0, 0.05, size), scale_std=np.full(size, 0.01),
        keypoint_names=body.keypoint_names, keypoint_offsets=rng.normal(0, 0.01, (points, 3)), keypoint_offset_std=np.full((points, 3), 0.004),
        segment_lengths_m={"thigh_r": 0.41}, frames=100, fixed=False,
    )  # fmt: skip


def test_written_and_read_back(body: BodyModel, tmp_path: Path) -> None:
    estimate = estimate_of(body)
    write_subject(tmp_path / "sub" / "subject.yaml", subject_from_estimate(estimate, body, "coco_wholebody_133"))
    subject = read_subject(tmp_path / "sub" / "subject.yaml")
    value, std = subject.scale_vector(body)
    np.testing.assert_allclose(value, estimate.scales, atol=1e-6)
    np.testing.assert_allclose(std, 0.01)
    offset, offset_std = subject.offset_matrix(body, "coco_wholebody_133")
    placed = body.keypoint_body >= 0
    np.testing.assert_allclose(offset[placed], estimate.keypoint_offsets[placed], atol=1e-6)
    np.testing.assert_allclose(offset_std[placed], 0.004)
    assert (subject.name, subject.model, subject.segment_lengths_m) == ("S01", "biomech_body", {"thigh_r": 0.41})
    assert not list((tmp_path / "sub").glob(".*"))


def with_covariance(estimate: SubjectEstimate) -> SubjectEstimate:
    """Scales and offsets strongly correlated, as a short trial leaves them: only sums are sure."""
    rng = np.random.default_rng(1)
    std = np.concatenate([estimate.scale_std, estimate.keypoint_offset_std.reshape(-1)])
    root = rng.standard_normal((len(std), 12))
    covariance = root @ root.T + 0.01 * np.eye(len(std))
    covariance *= np.outer(std, std) / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    return replace(estimate, covariance=covariance)


def test_a_base_model_is_taken_as_it_is(body: BodyModel, tmp_path: Path) -> None:
    """A person may aim a little elsewhere the next time; a base model of people says already how the next one may differ."""
    person = replace(subject_from_estimate(with_covariance(estimate_of(body)), body, "coco_wholebody_133"), name="")
    fitted = FittedBody(body, load_keypoint_set("coco_wholebody_133"), 8)
    noise = KeypointNoise({"nose": 3.25, "left_ankle": 6.5}, (0.1, 0.5, 0.9), (2.0, 1.25, 0.75), 0.02)
    write_subject(tmp_path / "base_model.yaml", replace(person, people=8, noise=noise))
    base = read_subject(tmp_path / "base_model.yaml")
    assert base.people == 8 and base.keypoint_noise("coco_wholebody_133") == noise and base.keypoint_noise("halpe_26") is None
    assert person.keypoint_noise("coco_wholebody_133") is None
    own, known = fitted.known(base), fitted.known(person)
    np.testing.assert_allclose(np.diag(own.covariance), np.r_[np.full(len(own.scales), 0.01**2), np.full(own.offsets.size, 0.004**2)], rtol=1e-3)
    added = np.r_[np.full(len(own.scales), SUBJECT_SCALE_STD**2), np.full(own.offsets.size, SUBJECT_OFFSET_STD_M**2)]
    np.testing.assert_allclose(np.diag(known.covariance - own.covariance), added, rtol=0.01)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("[1, 2]", "detector_noise must be a mapping with sigma_px"),
        ("{sigma_px: {nose: -1}, confidence: [0.5], factor: [1], correlation_time_s: 0}", "sigma_px: nose is -1; it must be a number above 0"),
        ("{sigma_px: {nose: .nan}, confidence: [0.5], factor: [1], correlation_time_s: 0}", "sigma_px: nose is nan"),
        ("{sigma_px: {nose: 1}, confidence: 0.5, factor: [1], correlation_time_s: 0}", "detector_noise.confidence must be a list of numbers"),
        ("{sigma_px: {nose: 1}, confidence: [0.5, 0.4], factor: [1, 1], correlation_time_s: 0}", "as many factors as confidences, and these must rise"),
        ("{sigma_px: {nose: 1}, confidence: [0.5, 0.6], factor: [1], correlation_time_s: 0}", "as many factors as confidences"),
        ("{sigma_px: {nose: 1}, confidence: [0.5], factor: [0], correlation_time_s: 0}", "detector_noise.factor must be above 0"),
        ("{sigma_px: {nose: 1}, confidence: [0.5], factor: [1]}", "correlation_time_s is None"),
    ],
)
def test_malformed_noise_is_named(entry: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "base_model.yaml"
    path.write_text(f"format: 1\nmodel: biomech_body\npeople: 3\ndetector_noise: {entry}\n")
    with pytest.raises(InputError, match=re.escape(sentence)):
        read_subject(path)


def states(body: BodyModel, keypoints: np.ndarray) -> np.ndarray:
    """Where scales and these keypoints' offsets are in the joint vector."""
    return np.concatenate([np.arange(len(body.scale_names)), (len(body.scale_names) + 3 * keypoints[:, None] + np.arange(3)).reshape(-1)])


def test_the_joint_covariance_survives(body: BodyModel, tmp_path: Path) -> None:
    """To the file's 5 digits: 1e-4 of a standard deviation each."""
    estimate = with_covariance(estimate_of(body))
    write_subject(tmp_path / "subject.yaml", subject_from_estimate(estimate, body, "coco_wholebody_133"))
    assert (tmp_path / "subject.yaml").stat().st_size < 500_000
    subject = read_subject(tmp_path / "subject.yaml")
    assert estimate.covariance is not None
    placed = states(body, np.flatnonzero(body.keypoint_body >= 0))
    std = np.sqrt(np.diag(estimate.covariance))
    got = subject.covariance(body, "coco_wholebody_133") / np.outer(std, std)
    np.testing.assert_allclose(got[np.ix_(placed, placed)], (estimate.covariance / np.outer(std, std))[np.ix_(placed, placed)], atol=2e-4)
    np.linalg.cholesky(got[np.ix_(placed, placed)])
    # Another detector: the sizes and what is known of them together are still true, its offsets are not known.
    count = len(body.scale_names)
    other = subject.covariance(body, "halpe_26")
    np.testing.assert_allclose(other[:count, :count] / np.outer(std[:count], std[:count]), got[:count, :count], atol=1e-9)
    assert not other[:count, count:].any() and "only its sizes" in str(subject.notice("halpe_26")) and subject.notice("coco_wholebody_133") is None
    np.testing.assert_allclose(np.diag(other)[count:].reshape(-1, 3)[:, 0], body.keypoint_offset_std**2)


def test_the_order_in_the_file_is_free(body: BodyModel, tmp_path: Path) -> None:
    estimate = with_covariance(estimate_of(body))
    whole = subject_from_estimate(estimate, body, "coco_wholebody_133")
    count, names = len(whole.scales), list(whole.keypoint_offsets)
    turned = np.concatenate([np.arange(count)[::-1], (count + 3 * np.arange(len(names))[::-1, None] + np.arange(3)).reshape(-1)])
    assert whole.correlation is not None
    reordered = replace(
        whole, scales={n: whole.scales[n] for n in reversed(whole.scales)}, keypoint_offsets={n: whole.keypoint_offsets[n] for n in reversed(names)},
        correlation=whole.correlation[np.ix_(turned, turned)],
    )  # fmt: skip
    np.testing.assert_allclose(reordered.covariance(body, "coco_wholebody_133"), whole.covariance(body, "coco_wholebody_133"), rtol=1e-12)


def test_a_covariance_that_rounding_made_impossible_is_mended(body: BodyModel, tmp_path: Path) -> None:
    estimate = with_covariance(estimate_of(body))
    assert estimate.covariance is not None
    std = np.sqrt(np.diag(estimate.covariance))
    value, vector = np.linalg.eigh(estimate.covariance / np.outer(std, std))
    value[:5] = -1e-4
    bad = replace(estimate, covariance=np.outer(std, std) * ((vector * value) @ vector.T))
    write_subject(tmp_path / "subject.yaml", subject_from_estimate(bad, body, "coco_wholebody_133"))
    got = read_subject(tmp_path / "subject.yaml").covariance(body, "coco_wholebody_133")
    assert np.linalg.eigvalsh(got).min() > 0


def test_files_without_correlations_are_taken_as_independent(body: BodyModel, tmp_path: Path) -> None:
    write_subject(tmp_path / "subject.yaml", subject_from_estimate(estimate_of(body), body, "coco_wholebody_133"))
    assert "correlation" not in (tmp_path / "subject.yaml").read_text()
    got = read_subject(tmp_path / "subject.yaml").covariance(body, "coco_wholebody_133")
    assert np.count_nonzero(got - np.diag(np.diag(got))) == 0


def test_offsets_belong_to_one_detector_and_scales_to_one_model(body: BodyModel) -> None:
    subject = Subject("A", "biomech_body", {"head": Scale(0.1, 0.01)}, "halpe_26", {"Nose": KeypointOffset((0.1, 0, 0), (0.01, 0.01, 0.01))})
    np.testing.assert_array_equal(subject.offset_matrix(body, "coco_wholebody_133")[0], 0)
    value, std = subject.scale_vector(body)
    head = body.scale_names.index("head")
    assert value[head] == 0.1 and np.count_nonzero(value) == 1 and std[head] == 0.01 and std[0] == pytest.approx(np.hypot(0.08, 0.05))
    with pytest.raises(InputError, match="made for the model other; the chosen model is biomech_body"):
        Subject("A", "other", {}).scale_vector(body)
    with pytest.raises(InputError, match="scale tail, which the model biomech_body lacks"):
        Subject("A", "biomech_body", {"tail": Scale(0.1, 0.1)}).scale_vector(body)
    with pytest.raises(InputError, match="offset of the keypoint Tail, which the set halpe_26 lacks; it has "):
        Subject("A", "biomech_body", {}, "halpe_26", {"Tail": KeypointOffset((0, 0, 0), (0.01, 0.01, 0.01))}).offset_matrix(body, "halpe_26")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("scales: {}", "must name its model"),
        ("model: m\nscales: {head: 1.0}", "head needs the number factor"),
        ("model: m\nscales: {head: {factor: 1.0}}", "head needs the number std"),
        ("model: m\nscales: {head: {factor: 9.0, std: 1}}", "between 0.2 and 5"),
        ("model: m\nscales: {head: {factor: 1.0, std: 0}}", "must be above 0"),
        ("model: m\nscales: {head: {factor: .nan, std: 1}}", "number factor"),
        ("model: m\nscales: [1]", "scales must be a mapping"),
        ("model: m\nkeypoint_offsets: {Nose: {offset_m: [1, 2]}}", "offset_m must be three numbers"),
        ("model: m\nkeypoint_offsets: {Nose: {offset_m: [1, 2, 3], std_m: [1, 1, 1]}}", "larger than 0.5 m"),
        ("model: m\nformat: 7", "format 7"),
        ("model: m\npeople: 0", "people is 0; it must be 1"),
        ("model: m\nscales: {head: {factor: 1, std: 1}}\ncorrelation_factor: |\n  1\n  0 1\n", "has 2 lines; it must have 1"),
        ("model: m\nscales: {head: {factor: 1, std: 1}}\ncorrelation_factor: 3", "has 0 lines; it must have 1"),
        ("model: m\nscales: {head: {factor: 1, std: 1}}\ncorrelation_factor: |\n  0.5\n", "line 1 of correlation_factor must be 1 numbers"),
        ("model: m\nscales: {head: {factor: 1, std: 1}}\ncorrelation_factor: |\n  x\n", "line 1 of correlation_factor"),
        ("model: m\nscales: {head: {factor: 1, std: 1}}\ncorrelation_factor: |\n  -1\n", "last one above 0"),
        ("[", "not valid YAML"),
    ],
)
def test_each_wrong_entry_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(InputError, match=words):
        read_subject(tmp_path / "s.yaml")
