"""Typed settings, each declared once: name, default, unit, range, meaning."""
