"""Honest variations: the same numbers computed another way, which rounds otherwise."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import safetensors.torch
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from parity.execution.case import Case, call_block
from parity.execution.execute import Outcome, execute
from parity.execution.paths import PATHS
from parity.execution.personalities import PERSONALITIES
from parity.run.samblocks_library import OURS, SELF, library
from parity.workers.client import Client
from parity.workers.process import TIMEOUT

Inputs = Mapping[str, Tensor]
Weights = Mapping[str, Tensor] | None


@dataclass(frozen=True)
class Variation:
    """One way to run a case that should change nothing but rounding.

    Attributes:
        kind: what it is called.
        applies: whether it makes sense for a case.
        run: our side of the case, so varied, on inputs and on weights, which are the filled ones where None.
    """

    kind: str
    applies: Callable[[Case, Inputs], bool]
    run: Callable[[Case, Inputs, Weights], Outcome]


def _under(
    context: Callable[[], AbstractContextManager[object]],
) -> Callable[[Case, Inputs, Weights], Outcome]:
    def run(case: Case, inputs: Inputs, weights: Weights) -> Outcome:
        with context():
            return execute(case, library(), inputs, weights=weights)

    return run


def _laid_out(change: Callable[[Tensor], Tensor]) -> Callable[[Case, Inputs, Weights], Outcome]:
    def run(case: Case, inputs: Inputs, weights: Weights) -> Outcome:
        changed = {name: change(x) if x.is_floating_point() else x for name, x in inputs.items()}
        return execute(case, library(), changed, weights=weights)

    return run


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _with_gaps(x: Tensor) -> Tensor:
    """The same values, each followed by a number that does not belong to them."""
    wide = torch.full((*x.shape, 2), torch.nan, dtype=x.dtype)
    wide[..., 0] = x
    return wide[..., 0]


def _backwards(x: Tensor) -> Tensor:
    """The same values, their first axis running fastest in memory."""
    axes = tuple(reversed(range(x.dim())))
    return x.permute(axes).contiguous().permute(axes)


def channels_last(x: Tensor) -> Tensor:
    """The same values; a map [B, C, H, W] with its channels running fastest in memory."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def _splits(case: Case, inputs: Inputs) -> bool:
    """Whether a case is a plain call on a batch, and items do not see each other (which `_split` checks)."""
    sizes = {x.shape[0] if x.dim() else 0 for x in inputs.values()}
    return case.call is call_block and not case.train and len(sizes) == 1 and max(sizes) > 1


def _split(case: Case, inputs: Inputs, weights: Weights) -> Outcome:
    """Each item by itself, put together again; the joint outcome where items turn out to see each other."""
    joint = execute(case, library(), inputs, weights=weights)
    size = next(iter(inputs.values())).shape[0]
    if any(output.dim() == 0 or output.shape[0] != size for output in joint.outputs.values()):
        return joint
    items = [
        execute(case, library(), {name: x[item : item + 1] for name, x in inputs.items()}, weights=weights)
        for item in range(size)
    ]
    outputs = {path: torch.cat([item.outputs[path] for item in items]) for path in joint.outputs}
    return Outcome(outputs, joint.state)


def _has(axes: int) -> Callable[[Case, Inputs], bool]:
    return lambda case, inputs: any(x.dim() >= axes and x.is_floating_point() for x in inputs.values())


def _attends(case: Case, inputs: Inputs) -> bool:
    """Dropout in attention draws other numbers in another kernel, so training is left out."""
    return not case.train and not case.is_function


AS_IT_IS = Variation("as it is", lambda case, inputs: True, _under(nullcontext))
VARIATIONS = (
    AS_IT_IS,
    Variation("two threads", lambda case, inputs: True, _under(lambda: _threads(2))),
    Variation("attention by its formula", _attends, _under(lambda: sdpa_kernel(SDPBackend.MATH))),
    Variation("no fast path", _attends, _under(PATHS["plain"])),
    Variation("cut in the smallest chunks", _attends, _under(PATHS["chunks"])),
    Variation("cut in several rows, the last chunk smaller", _attends, _under(PATHS["ragged"])),
    Variation("inputs with gaps", _has(1), _laid_out(_with_gaps)),
    Variation("inputs stored backwards", _has(2), _laid_out(_backwards)),
    Variation("inputs channels last", _has(4), _laid_out(channels_last)),
    Variation("items one by one", _splits, _split),
)
"""What can be varied in this process."""


def as_other_processors(stack: ExitStack, *, timeout: float = TIMEOUT) -> list[Variation]:
    """Our side in processes that compute as other processors would, as far as this build can.

    Args:
        stack: ends the processes.
        timeout: seconds that each step of a process's start may take.
    """
    found = []
    for personality in PERSONALITIES:
        if personality.library != "threads" and not personality.why_not():
            client = stack.enter_context(
                Client(
                    SELF,
                    Path(sys.executable),
                    extra_packages=OURS,
                    variables=personality.variables,
                    timeout=timeout,
                )
            )
            found.append(Variation(personality.name, lambda case, inputs: True, _in_worker(client)))
    return found


def _in_worker(client: Client) -> Callable[[Case, Inputs, Weights], Outcome]:
    def run(case: Case, inputs: Inputs, weights: Weights) -> Outcome:
        with TemporaryDirectory(prefix="parity-") as folder:
            file = None
            if weights is not None:
                file = Path(folder) / "weights.safetensors"
                safetensors.torch.save_file(dict(weights), file)
            reply = client.execute(case, inputs, weights=file)
        return Outcome(reply.outputs, reply.state)

    return run
