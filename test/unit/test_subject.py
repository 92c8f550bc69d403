"""subject.yaml: what is written is read back; what is wrong is named."""

from pathlib import Path

import numpy as np
import pytest

from biomech_fit.core.body import BodyModel
from biomech_fit.core.errors import InputError
from biomech_fit.core.estimates import SubjectEstimate
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.formats.model import load_body_model
from biomech_fit.formats.subject import KeypointOffset, Scale, Subject, read_subject, subject_from_estimate, write_subject


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
        ("[", "not valid YAML"),
    ],
)
def test_each_wrong_entry_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(InputError, match=words):
        read_subject(tmp_path / "s.yaml")
