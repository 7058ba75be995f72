"""Where this package lies: its data, its goldens, and the folders that workers register."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
"""The folder of the package."""

ROOT = FOLDER.parent
"""The folder that the package lies in: a checkout, or site-packages."""
