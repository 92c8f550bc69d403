"""Settings: YAML over defaults, errors that name the entry, and documentation that is current."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from biomech_fit.config import FitConfig, load_config
from biomech_fit.config.docs import default_yaml, parameters_page
from biomech_fit.config.fit import GaitConfig, NoiseConfig, WindowConfig
from biomech_fit.config.load import describe, to_yaml, validate
from biomech_fit.config.node import FitterNodeConfig
from biomech_fit.config.setting import leaves
from biomech_fit.core.errors import InputError

ROOT = Path(__file__).parents[2]


def test_defaults_are_valid_and_read_back(tmp_path):
    config = FitConfig()
    validate(config)
    (tmp_path / "f.yaml").write_text(to_yaml(config))
    assert load_config(tmp_path / "f.yaml") == config
    changed = replace(config, noise=NoiseConfig(pixel_sigma_px=1e-1 * 3), window=WindowConfig(damping=1e-7))
    (tmp_path / "f.yaml").write_text(to_yaml(changed))
    assert load_config(tmp_path / "f.yaml") == changed
    (tmp_path / "f.yaml").write_text("")
    assert load_config(tmp_path / "f.yaml") == config == load_config(None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("windw: 3", "did you mean window"),
        ("window: {frame: 33}", "window has no setting 'frame'; did you mean frames"),
        ("xyz: 1", "valid names: device, stream"),
        ("window: {frames: 3}", "window.frames is 3; it must be a whole number from 8 to 256 frames"),
        ("window: {frames: 32.5}", "a whole number"),
        ("noise: {robust_kernel: tukey}", "one of none, huber, cauchy, geman_mcclure"),
        ("noise: {pixel_sigma_px: .nan}", "noise.pixel_sigma_px is nan"),
        ("noise: {pixel_sigma_px: true}", "a number from"),
        ("refine: {cameras: 1}", "true or false"),
        ("window: 3", "window must be a mapping"),
        ("noise: {pixel_sigma_px: {a: 1}}", "it must be a number"),
        ("[1, 2]", "must be a mapping"),
        ("a: [1", "not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]", "not valid YAML"),
        ("device: 2024-13-45", "not valid YAML"),
        ("[" * 5000, "not valid YAML"),
        ("noise: {pixel_sigma_px: 1" + "0" * 400 + "}", "it must be a number from"),
        ("a: &a [1,1,1,1,1,1,1,1]\n" + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1 or str()}'] * 8)}]\n" for i in range(1, 10)), "aliases stand for more"),
        ("a: &a [*a]", "aliases stand for more"),
    ],
)
def test_bad_files_are_named(tmp_path, text, words):
    path = tmp_path / "f.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_config(path)
    assert words in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "big.yaml").write_text("#" * 1_000_001)
    with pytest.raises(InputError, match="at most"):
        load_config(tmp_path / "big.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError):
        load_config(tmp_path / "binary.yaml")


def test_dotted_names_and_ros_files(tmp_path):
    path = tmp_path / "f.yaml"
    path.write_text("/fitter_node:\n  ros__parameters:\n    window.frames: 64\n    window.lag_s: 0.5\n")
    config = load_config(path)
    assert config.window.frames == 64 and config.window.lag_s == 0.5


def test_settings_made_in_python_are_checked():
    with pytest.raises(InputError, match=r"window\.lag_s"):
        validate(replace(FitConfig(), window=WindowConfig(lag_s=6.0)))
    with pytest.raises(InputError, match=r"window\.frames"):
        validate(replace(FitConfig(), window=WindowConfig(frames=1)))


def test_every_setting_is_described():
    for kind in (FitConfig, FitterNodeConfig):
        names = [row.name for row in describe(kind)]
        assert len(set(names)) == len(names)
        for name, entry in leaves(kind):
            assert entry.metadata["doc"].endswith("."), name
            assert not isinstance(entry.default, float) or entry.metadata["high"] is not None, f"{name} has no range"


def test_gait_settings_are_the_detectors():
    pytest.importorskip("biomech_fit.core.gait")
    from biomech_fit.core.gait import GaitSettings

    assert asdict(GaitConfig()) == asdict(GaitSettings())


def test_documentation_is_current():
    hint = "run `python -m biomech_fit.config.docs`"
    assert (ROOT / "docs" / "parameters.md").read_text(encoding="utf-8") == parameters_page(), hint
    assert (ROOT / "config" / "default.yaml").read_text(encoding="utf-8") == default_yaml(), hint
    assert load_config(ROOT / "config" / "default.yaml") == FitConfig()


def test_settings_need_no_heavy_imports():
    code = "import biomech_fit.config, sys; raise SystemExit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
