"""segment_anything's own way from a checkpoint to a model, measured; runs in the references' environment.

`python -m parity.references.load_whole FILE THREADS` prints seconds and memory as JSON.
"""

import json
import sys
from pathlib import Path

import torch
from torch import nn

from parity.bench.load import touch
from parity.bench.memory import measured
from parity.references import torchvision_operators


def main(file: Path, threads: int) -> None:
    """Build and load once, and read every page of every parameter."""
    torchvision_operators.declare_missing()
    from segment_anything import sam_model_registry

    torch.set_num_threads(threads)

    def load() -> nn.Module:
        model: nn.Module = sam_model_registry["vit_h"](checkpoint=str(file))
        touch(model.parameters())
        return model

    print(json.dumps(measured(load)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
