"""Weights that are spread over processes: each holds its part of every large tensor (FSDP2), and reads that alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import torch.distributed as dist
from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

_SPREAD: Final = ("image_encoder", "memory_attention")
_UNITS: Final = ("blocks", "layers")


def spread(module: nn.Module, mesh: DeviceMesh) -> None:
    """Let FSDP2 spread the image encoder and the memory attention, which hold nearly all weights of a model.

    Each of their blocks is a unit of its own. The rest stays whole in every process, since predictors call parts of it
    one by one.

    Args:
        module: a model, or one of these parts; on the meta device as a rule.
        mesh: one dimension of it spreads, two replicate over the first one.

    Raises:
        ValueError: there is nothing in it that could be spread.
    """
    parts = [part for name in _SPREAD if isinstance(part := getattr(module, name, None), nn.Module)]
    if not parts and any(hasattr(module, name) for name in ("trunk", *_UNITS)):
        parts = [module]
    if not parts:
        raise ValueError(
            f"sharded: a {type(module).__name__} has none of {', '.join(_SPREAD)}; load it whole"
        )
    from torch.distributed.fsdp import fully_shard

    for part in parts:
        lists = [m for name, m in part.named_modules() if name.rpartition(".")[2] in _UNITS]
        for unit in (unit for some in reversed(lists) for unit in some.children()):
            fully_shard(unit, mesh=mesh)
        fully_shard(part, mesh=mesh)


def parts_of(tensors: Iterable[tuple[str, Tensor]], module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """This process's part of each tensor, as `module` after `spread` wants it; no process waits for another.

    Args:
        tensors: names and whole tensors, which may be mapped: no more is read of them than the part.
        module: whose state dict has these names.

    Yields:
        Names, and distributed tensors where the module's are.
    """
    from torch.distributed.tensor import DTensor

    wanted = module.state_dict()
    for name, whole in tensors:
        own = wanted[name]
        if isinstance(own, DTensor):
            yield (
                name,
                DTensor.from_local(
                    _part(whole, own),
                    own.device_mesh,
                    own.placements,
                    run_check=False,
                    shape=own.shape,
                    stride=own.stride(),
                ),
            )
        else:
            yield name, whole


def _part(whole: Tensor, own: Any) -> Tensor:
    """This process's part of a whole tensor, as a distributed one is cut, in memory of its own."""
    for axis, placement in enumerate(own.placements):
        if placement.is_shard():
            processes, rank = own.device_mesh.size(axis), own.device_mesh.get_local_rank(axis)
            parts = whole.chunk(processes, placement.dim)  # fewer where the tensor is short
            whole = parts[rank] if rank < len(parts) else whole.narrow(placement.dim, 0, 0)
    return whole.clone()  # what is cut out of a mapped file would keep all of it


def is_spread(module: nn.Module) -> bool:
    """Whether some of a module's parameters are distributed."""
    return any(hasattr(parameter, "full_tensor") for parameter in module.parameters())


def gathered(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """A state dict with whole tensors, if some are distributed: all processes must call it.

    Returns:
        The tensors in the first process, None in the others; what came in, where nothing is distributed.
    """
    if not any(hasattr(value, "full_tensor") for value in state.values()):
        return dict(state)
    first = dist.get_rank() == 0
    whole = {}
    for name, value in state.items():
        full = (
            value.full_tensor() if hasattr(value, "full_tensor") else value
        )  # one after the other, in one order
        if first:
            whole[name] = full.cpu()
    return whole if first else None


def wait() -> None:
    """Wait for all processes."""
    dist.barrier()
