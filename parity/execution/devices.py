"""Where both sides of a case run: the processor, or an accelerator that torch sees."""

import torch

DEVICES = ("cpu", "cuda", "mps")
"""What `--device` can name."""


def missing(name: str) -> str:
    """Why a device cannot be used, in a sentence; empty where it can."""
    if name == "cpu" or getattr(torch, name).is_available():
        return ""
    return f"no {name.upper()} device: torch {torch.__version__} sees none on this machine"


def in_full_precision(name: str) -> None:
    """Have this process compute float32 as float32 on a device whose kernels would round products to fewer bits."""
    if name == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
