"""The sizes of SAM 2's released models, with the letter that stands for each in Ultralytics' names."""

from collections.abc import Mapping
from types import MappingProxyType

LETTERS: Mapping[str, str] = MappingProxyType({"tiny": "t", "small": "s", "base_plus": "b", "large": "l"})
"""Meta writes "b+" where Ultralytics writes "b"."""
