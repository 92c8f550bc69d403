"""Where the package's data (config/, launch/, package.xml) lies: in the source tree or under share/biomech_fit of an installation."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from biomech_fit.core.errors import InputError

PACKAGE = "biomech_fit"


@cache
def share_directory() -> Path:
    """The folder that holds package.xml, config/ and launch/. A source tree's own goes before an installed one.

    Raises InputError where neither is found (a broken installation).
    """
    # Not resolved: with --symlink-install the modules are links into the source tree, whose data may be newer than the installed share/.
    package = Path(__file__).absolute().parents[1]
    prefixes = [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    candidates = [package.parent, *(folder / "share" / PACKAGE for folder in (*package.parents, *prefixes))]
    for folder in candidates:
        if (folder / "package.xml").is_file() and (folder / "config").is_dir():
            return folder
    places = f"neither beside {package} nor in a share/{PACKAGE} folder above it or in AMENT_PREFIX_PATH"
    raise InputError(f"The data of {PACKAGE} (package.xml and config/) was found {places}; please install the package again.")


def config_directory() -> Path:
    """share_directory()/config: default.yaml, rigs/, models/, keypoint_sets/, rviz/."""
    return share_directory() / "config"
