"""The short way through each library's models: every swapped module runs, whatever is given."""

import contextlib
import tempfile
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from parity.execution.fill import fill_
from samblocks import plain_paths, swap_blocks
from samblocks.swap.short_drive import short_drive

NAMES = {
    "ultralytics": ("SAM2Predictor 2.1", "Predictor mobile_sam"),
    "meta": ("SAM2VideoPredictor 2.1", "SamPredictor vit_b"),
    "transformers": ("SamModel", "Sam2Model", "Sam2VideoModel"),
}
SIZE = 128


def made(library, name):
    drivers = import_module(f"parity.references.hosts.drivers_{library}").DRIVERS
    driver = next(driver for driver in drivers if driver.name.startswith(name))
    return driver.make(SIZE, Path(tempfile.mkdtemp())).model


for library, names in NAMES.items():
    for name in names:
        report = swap_blocks(made(library, name))
        with plain_paths():
            found = report.verify()
        assert found, f"{library} {name}\n{found}"
        print(library, name, found.verdict, len(found.outputs))

model = made("meta", "SAM2VideoPredictor 2.1")
report = swap_blocks(model)
picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
with tempfile.TemporaryDirectory() as folder, plain_paths():
    path = Path(folder) / "0.png"
    Image.fromarray(picture).save(path)
    for given in (
        path,
        str(path),
        picture,
        Image.fromarray(picture),
        folder,
        [picture, path],
        np.stack([picture] * 2),
    ):
        assert report.verify(given), type(given)
    seen = report.verify(lambda given: given.forward_image(torch.ones(1, 3, SIZE, SIZE)))
assert not seen
assert seen.verdict == "INCOMPLETE"
assert "memory_attention" in seen.not_run
assert "image_encoder" not in seen.not_run


def broken(*args, **kwargs):
    raise RuntimeError("broken")


model.memory_attention.forward = broken
with contextlib.suppress(RuntimeError):
    raise AssertionError(f"a broken module was not called: {report.verify(picture)}")
del model.memory_attention.forward

# A decoder of another depth than the released models have, in a model that is swapped as a whole.
model = made("meta", "SAM2ImagePredictor").model
layers = model.sam_mask_decoder.transformer.layers
layer = type(layers[1])(256, 8, 2048, attention_downsample_rate=2, skip_first_layer_pe=False)
layers.append(fill_(layer).eval())


class Holder(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = model

    def forward(self, images):
        drive = short_drive(model)
        assert drive is not None
        return drive(self.model, images)


holder = Holder()
report = swap_blocks(holder)
assert [(row.path, row.target) for row in report.swapped] == [("model", "samblocks.models.SAM2Model")], str(
    report
)
assert len(holder.model.sam_mask_decoder.transformer.layers) == 3
with plain_paths():
    found = report.verify(torch.linspace(-2, 2, 3 * SIZE * SIZE).mul(7).sin().reshape(1, 3, SIZE, SIZE))
assert found.verdict == "EXACT", str(found)
