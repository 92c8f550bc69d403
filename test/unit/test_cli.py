"""The front of the command line: help, versions, errors in one line, and which exit code they give."""

from __future__ import annotations

import signal
import time
import types
from pathlib import Path

import pytest

from biomech_fit.cli import fit, fit_meta
from biomech_fit.cli import main as cli
from biomech_fit.config.version import version
from biomech_fit.core.errors import InputError


def test_help_names_the_commands(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("simulate", "evaluate", "demo", "track"))


def test_version(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out.strip() == f"biomech-fit {version()}"


@pytest.mark.parametrize("arguments", [[], ["trak"], ["simulate", "--nothing-like-it", "x"]])
def test_wrong_usage_is_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_bad_input_is_one_line_and_2(tmp_path, capsys):
    assert cli.main(["evaluate", str(tmp_path / "none"), "--truth", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "none" in said and said.count("\n") == 1
    assert cli.main(["simulate", str(tmp_path / "s"), "--cameras", "many"]) == 2
    assert cli.main(["demo", "--seconds", "1", "-o", str(tmp_path / "d")]) == 2


@pytest.mark.parametrize(("error", "code"), [(InputError("Bad."), 2), (KeyboardInterrupt(), 130), (None, 0)])
def test_exit_codes(monkeypatch, error, code):
    def run(args):
        if error is not None:
            raise error

    module = types.SimpleNamespace(add_parser=lambda commands: commands.add_parser("bench"), run=run)
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: module)
    assert cli.main(["bench"]) == code


def test_a_file_that_cannot_be_written_is_said(monkeypatch, capsys, tmp_path):
    module = types.SimpleNamespace(add_parser=lambda commands: commands.add_parser("bench"), run=lambda args: (tmp_path / "none" / "f").write_text(""))
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: module)
    assert cli.main(["bench"]) == 2
    assert "none/f' cannot be read or written: No such file" in capsys.readouterr().err


def test_an_interruption_in_a_callback_is_not_lost(monkeypatch):
    """As in JAX's callback of the garbage collection: what cannot be raised there ends the command a moment later."""

    class Falls:
        def __del__(self):
            raise KeyboardInterrupt

    def run(args):
        falls = Falls()
        del falls
        for _ in range(1000):
            time.sleep(0.001)

    module = types.SimpleNamespace(add_parser=lambda commands: commands.add_parser("bench"), run=run)
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: module)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        assert cli.main(["bench"]) == 130
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_command_that_cannot_be_loaded_does_not_break_the_others(monkeypatch, capsys):
    real = cli.importlib.import_module

    def load(name):
        if name.endswith(".simulate"):
            raise ImportError("No module named 'tqdm'", name="tqdm")
        return real(name)

    monkeypatch.setattr(cli.importlib, "import_module", load)
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    said = capsys.readouterr()
    assert "evaluate" in said.out and "tqdm" in said.err


def test_recordings_of_one_name_are_told_apart():
    given = [Path(p) for p in ("mon/walk", "mon/walk_3", "tue/walk", "wed/walk", "thu/walk_2")]
    assert fit._names(given) == ["walk", "walk_3", "walk_2", "walk_4", "walk_2_2"]


def test_evidence_belongs_to_the_calibration_beside_the_recording(tmp_path):
    """And to the project's settings, and to what a model says of itself."""
    trial = tmp_path / "project" / "trial"
    (trial / "pose").mkdir(parents=True)
    model = tmp_path / "own.xml"
    outside = [tmp_path / "project" / "calibration" / "Calib.toml", tmp_path / "project" / "Config.toml", model.with_suffix(".yaml")]
    for path in (*outside, model):
        path.parent.mkdir(exist_ok=True)
        path.write_text("a")
    seen = {fit_meta._fingerprint([trial], {"model": str(model)})}
    for path in outside:
        path.write_text("other")
        seen.add(fit_meta._fingerprint([trial], {"model": str(model)}))
    assert len(seen) == 4 and fit_meta._fingerprint([trial], {"model": str(model)}) in seen
