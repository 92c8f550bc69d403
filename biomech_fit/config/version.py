"""The package's version, read from package.xml, its only place."""

from __future__ import annotations

from functools import cache
from xml.etree import ElementTree

from biomech_fit.config.paths import share_directory


@cache
def version() -> str:
    """E.g. 0.1.0."""
    text = ElementTree.parse(share_directory() / "package.xml").findtext("version")
    if not text:
        raise ValueError("package.xml has no <version>")
    return text.strip()
