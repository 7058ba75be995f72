"""Copies of segment_anything and sam2, imported under their names, with edits: what is swapped, and what stays."""

import importlib
import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

from parity.execution.fill import fill_
from samblocks import swap_blocks


def origin(module):
    """The file of a module that is installed."""
    found = importlib.util.find_spec(module)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin)


def fork(package, file, edits):
    """Copy a package into a folder that comes first, with text replaced in one file, and forget the original."""
    folder = Path(tempfile.mkdtemp())
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]
    if str(FOLDERS[-1:] and FOLDERS[-1]) in sys.path:
        sys.path.remove(str(FOLDERS[-1]))
    shutil.copytree(origin(package).parent, folder / package)
    text = (folder / package / file).read_text()
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    (folder / package / file).write_text(text)
    sys.path.insert(0, str(folder))
    FOLDERS.append(folder)
    importlib.invalidate_caches()


FOLDERS: list[Path] = []


def encoder(returns_states=False):
    kind = importlib.import_module("segment_anything.modeling.image_encoder").ImageEncoderViT

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.image_encoder = kind(
                img_size=64,
                embed_dim=32,
                depth=2,
                num_heads=2,
                use_rel_pos=True,
                window_size=2,
                global_attn_indexes=(1,),
                out_chans=16,
            )

        def forward(self, x):
            found = self.image_encoder(x)
            return (found[0], found[1][0]) if returns_states else (found,)

    return fill_(Model()).eval(), torch.randn(1, 3, 64, 64)


def memory_encoder():
    home = importlib.import_module("sam2.modeling.memory_encoder")

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.fuser = home.Fuser(home.CXBlock(16), 2)

        def forward(self, x):
            return (self.fuser(x),)

    return fill_(Model()).eval(), torch.randn(1, 16, 8, 8)


def swapped(made):
    """The paths that were swapped, after the outputs were found to be the same."""
    model, x = made
    with torch.no_grad():
        before = model(x)
        report = swap_blocks(model)
        after = model(x)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(before, after, strict=True)), str(report)
    for row in report.kept:
        assert "which must stay" in row.reason or 'trust="names"' in row.reason, row
    return {row.path for row in report.swapped}


image_encoder = "modeling/image_encoder.py"
assert swapped(encoder()) == {"image_encoder"}

text = origin("segment_anything.modeling.image_encoder").read_text()
start, end = text.index("        for blk in self.blocks:"), text.index("class Block(")
states = """        states = []
        for blk in self.blocks:
            x = blk(x)
            states.append(x)
        return self.neck(x.permute(0, 3, 1, 2)), states


"""
fork("segment_anything", image_encoder, [(text[start:end], states)])
inside = swapped(encoder(returns_states=True))
assert "image_encoder" not in inside
assert {"image_encoder.blocks.0", "image_encoder.blocks.1", "image_encoder.patch_embed"} <= inside

fork("segment_anything", image_encoder, [("q * self.scale", "q * self.scale * 2")])
inside = swapped(encoder())
assert "image_encoder.patch_embed" in inside
assert not {"image_encoder", "image_encoder.blocks.0", "image_encoder.blocks.0.attn"} & inside

# A function that two classes call, on another way than theirs.
fork(
    "segment_anything",
    image_encoder,
    [("pad_h = (window_size - H % window_size) % window_size", "pad_h = window_size")],
)
inside = swapped(encoder())
assert "image_encoder.blocks.0.attn" in inside
assert not {"image_encoder", "image_encoder.blocks.0"} & inside

# As another version would be: other words, other names, the same code.
fork(
    "segment_anything",
    image_encoder,
    [
        (
            "for blk in self.blocks:\n            x = blk(x)",
            "for each in self.blocks:\n            x = each( x )  # one",
        ),
        ("class Block(nn.Module):", "class Block(nn.Module):\n    'Another word.'\n"),
    ],
)
assert swapped(encoder()) == {"image_encoder"}

assert swapped(memory_encoder()) == {"fuser"}
fork(
    "sam2",
    "modeling/sam2_utils.py",
    [("(x - u) / torch.sqrt(s + self.eps)", "(x - u) / torch.sqrt(s + 2 * self.eps)")],
)
inside = swapped(memory_encoder())
assert not inside, inside
for folder in FOLDERS:
    shutil.rmtree(folder)
