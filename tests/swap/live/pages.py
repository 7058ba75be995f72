"""The snippets of docs/guides/swap.md, docs/swapping.md and docs/video.md that are about other libraries' models."""

import os
import re
import tempfile
from importlib import import_module
from pathlib import Path

import numpy as np
from PIL import Image

import samblocks
from parity.execution.fill import fill_
from parity.package import ROOT

SIDE = 128


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


os.chdir(tempfile.mkdtemp())
picture = np.random.default_rng(0).integers(0, 256, (240, 320, 3)).astype(np.uint8)
Image.fromarray(picture).save("photo.jpg")
os.mkdir("frames")
for number in range(2):
    Image.fromarray(np.roll(picture, number, axis=1)).save(f"frames/{number}.jpg")

drivers = import_module("parity.references.hosts.drivers_meta").DRIVERS
driver = next(driver for driver in drivers if driver.name.startswith("SamPredictor vit_b"))
(block,) = blocks("docs/swapping.md")
names = {"samblocks": samblocks, "model": driver.make(SIDE, Path.cwd()).model}
exec(block, names)
assert len(names["report"].swapped) > 0

samblocks.save(fill_(samblocks.build("sam2.1_hiera_tiny")), "sam2.1_t.pt", layout="ultralytics")
(block,) = blocks("docs/guides/swap.md")
quick = f'"labels": [1], "imgsz": {SIDE}, "conf": 0.0, "verbose": False, "save": False}}'
small = block.replace('"labels": [1]}', quick)
assert small != block
names = {}
exec(small, names)
assert names["ours"].shape == names["theirs"].shape
assert (names["ours"] != names["theirs"]).sum() <= names["ours"].numel() // 1000

block = blocks("docs/video.md")[1]
os.rename("sam2.1_t.pt", "sam2.1_hiera_tiny.pt")
names = {"samblocks": samblocks}
exec(block, names)
assert names["state"]["num_frames"] == 2
