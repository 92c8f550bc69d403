"""Typed settings, each declared once: name, default, unit, range, meaning."""

from biomech_fit.config.fit import FitConfig
from biomech_fit.config.load import load_config

__all__ = ["FitConfig", "load_config"]
