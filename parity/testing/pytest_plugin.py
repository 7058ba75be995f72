"""The plugin under its earlier name, which installs made before it moved still load."""

from samblocks.pytest_plugin import parity, pytest_addoption, pytest_configure

__all__ = ["parity", "pytest_addoption", "pytest_configure"]
