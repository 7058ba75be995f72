"""Goldens of other projects: outputs of a reference in a file, with where they come from, to judge a candidate by."""

import hashlib
import json
import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from parity.run.goldens import GoldenError
from parity.testing.check import Finding, Inputs, Result, judge, outputs_of, truth_of
from samblocks.files import write_atomically

_UPSTREAM, _TRUTH = "upstream/", "truth/"


def record(
    file: Path,
    candidate: Callable[..., Any],
    reference: Callable[..., Any],
    inputs: Inputs,
    build: Callable[[], nn.Module] | None = None,
) -> None:
    """Write the reference's outputs and their float64 truth, whole or not at all.

    Raises:
        GoldenError: when the reference is the candidate's own code: such a golden would prove nothing.
    """
    origin = package_of(reference)
    if reference is candidate or (origin == package_of(candidate) and type(reference) is type(candidate)):
        raise GoldenError(
            f"{file.name}: the reference is the candidate itself ({origin}); a golden is recorded from the code "
            "that the candidate must equal"
        )
    outputs, _ = outputs_of(reference, inputs)
    truth = truth_of(reference, inputs, build)
    note = {
        "recorded_from": f"{origin}.{getattr(reference, '__qualname__', type(reference).__qualname__)}",
        "version": _version(origin),
        "torch": torch.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "inputs": digest(inputs),
        "order": json.dumps(list(outputs)),
    }
    tensors = {_UPSTREAM + name: value.contiguous() for name, value in outputs.items()}
    tensors |= {_TRUTH + name: value.contiguous() for name, value in truth.items()}
    with write_atomically(file, make_folder=True) as stream:
        stream.write(safetensors.torch.save(tensors, note))


def judge_by(
    file: Path, candidate: Callable[..., Any], inputs: Inputs, bound: float = 2.0, *, heat: bool = False
) -> Result:
    """Hold a candidate against a golden.

    Raises:
        GoldenError: when there is none, it is damaged, or it was recorded with other inputs.
    """
    if not file.exists():
        raise GoldenError(f"{file} does not exist; record it once from the reference: pytest --parity-record")
    try:
        with safe_open(file, framework="pt") as stored:
            note = stored.metadata()
            order = json.loads(note["order"])
            upstream = {name: stored.get_tensor(_UPSTREAM + name) for name in order}
            truth = {name: stored.get_tensor(_TRUTH + name) for name in order}
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as damage:
        raise GoldenError(f"{file} is damaged ({damage}); record it anew: pytest --parity-record") from None
    if note["inputs"] != digest(inputs):
        raise GoldenError(
            f"{file} was recorded with other inputs; make inputs that are the same in every run"
        )
    outputs, changed = outputs_of(candidate, inputs)
    return judge(outputs, upstream, truth, bound=bound, changed=changed, heat=heat)


def digest(inputs: Inputs) -> str:
    """Hash of the inputs' types, shapes and values."""
    found = hashlib.sha256()
    for leaf in tree_leaves(inputs):
        if isinstance(leaf, Tensor):
            found.update(f"{leaf.dtype} {tuple(leaf.shape)}\n".encode())
            found.update(
                leaf.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if leaf.numel() else b""
            )
        else:
            found.update(f"{leaf!r}\n".encode())
    return found.hexdigest()


def package_of(function: Callable[..., Any]) -> str:
    """The top-level package that a callable, or a module's class, is defined in."""
    owner = type(function) if isinstance(function, nn.Module) else function
    return str(getattr(owner, "__module__", type(function).__module__)).split(".")[0]


def _version(package: str) -> str:
    names = metadata.packages_distributions().get(package)
    return metadata.version(names[0]) if names else "unversioned"


__all__ = ["Finding", "GoldenError", "Result", "judge_by", "record"]
