"""Contracts that every case's module must keep on our side, whatever its numbers are.

Each contract is a generator over one case, or over the cases of one module, that yields a sentence for each
violation. They know nothing of single blocks: what they need follows from the cases.
"""

import copy
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from parity.cases.drive import unwatched
from parity.contracts.bits import bits_may_differ, operations_of, same_numbers, start_thread
from parity.contracts.docstring_shapes import Shapes
from parity.execution.case import Case, Library, call_block
from parity.execution.execute import SEED, call, flatten, prepare
from parity.run.samblocks_library import library as own_library

Outputs = dict[str, Tensor]
Contract = Callable[[Sequence[Case]], Iterator[str]]
"""Takes the cases of one module (same block, arguments and weights) and yields violations."""


class NotApplicable(Exception):
    """The contract says nothing about these cases."""


def modules(cases: Sequence[Case]) -> list[list[Case]]:
    """Cases in groups that one module serves: same block, arguments and weights, and no training steps."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        if not case.steps:
            key = repr((case.block, case.kwargs, case.variant, case.image_size, case.adjust, case.train))
            groups.setdefault(key, []).append(case)
    return list(groups.values())


def _library() -> Library:
    return own_library()


def _prepared(case: Case, dtype: torch.dtype = torch.float32) -> nn.Module | None:
    return None if case.is_function else prepare(case, _library(), dtype=dtype)[0]


def _run(case: Case, module: nn.Module | None, inputs: dict[str, Tensor], dtype: torch.dtype) -> Outputs:
    with torch.no_grad():
        result = call(case, _library(), module, inputs, dtype)
        return {path: value.detach().clone() for path, value in flatten(result)}


def _differences(first: Outputs, second: Outputs) -> list[str]:
    if list(first) != list(second):
        return [f"outputs {list(first)} became {list(second)}"]
    return [path for path in first if not _same(first[path], second[path])]


def _same(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return torch.equal(a.nan_to_num(), b.nan_to_num()) if a.is_floating_point() else torch.equal(a, b)


def _differing(
    case: Case, first: Outputs, second: Outputs, again: Callable[[torch.dtype], Outputs]
) -> list[str]:
    """Outputs of two runs that differ, and not only in bits that torch's own operations do not keep either.

    Args:
        case: what was run.
        first: what a fresh module gives.
        second: what is held against it.
        again: runs the second way once more, in another precision.
    """
    differing = _differences(first, second)
    if not differing or list(first) != list(second) or not case.double:
        return differing
    operations = operations_of(lambda: _run(case, _prepared(case), case.tensors(), torch.float32))
    if not bits_may_differ(operations):
        return differing
    exact = _run(case, _prepared(case, torch.float64), case.tensors(), torch.float64)
    wide = again(torch.float64)
    return [
        path for path in differing if not same_numbers(second[path], first[path], wide[path], exact[path])
    ]


def repeats(cases: Sequence[Case]) -> Iterator[str]:
    """Calling again gives the same bits, and leaves inputs, tensors and settings of the module as they are."""
    for case in cases:
        module, inputs = _prepared(case), case.tensors()
        given = {name: value.clone() for name, value in inputs.items()}
        state = {} if module is None else {k: v.clone() for k, v in module.state_dict().items()}
        settings = {} if module is None else _settings(module)
        first, second = _run(case, module, inputs, torch.float32), None
        if module is not None and case.call is call_block and _settings(module) != settings:
            yield f"{case.id}: the call changed settings of the module"
        for name, value in inputs.items():
            if not _same(value, given[name]):
                yield f"{case.id}: the call changed its input {name!r}"
        if case.train:
            continue  # batch norms count what they saw
        for name, value in state.items():
            if module is not None and not _same(module.state_dict()[name], value):
                yield f"{case.id}: the call changed {name}"
        second = _run(case, module, inputs, torch.float32)

        def again(dtype: torch.dtype, case: Case = case) -> Outputs:
            module = _prepared(case, dtype)
            _run(case, module, case.tensors(), dtype)
            return _run(case, module, case.tensors(), dtype)

        for path in _differing(case, first, second, again):
            yield f"{case.id}: a second call gives another {path}"


def _alone(case: Case) -> tuple[Outputs, bool]:
    """What a fresh module gives, and whether its settings stay: a call may change them, as `set_imgsz` does."""
    module = _prepared(case)
    before = {} if module is None else _settings(module)
    outputs = _run(case, module, case.tensors(), torch.float32)
    return outputs, module is None or _settings(module) == before


def _settings(module: nn.Module) -> dict[str, str]:
    """All plain values among the attributes of a module and of those in it."""
    return {
        f"{path}.{name}": repr(value)
        for path, part in module.named_modules()
        for name, value in vars(part).items()
        if isinstance(value, bool | int | float | str | tuple | list) and not name.startswith("_")
    }


def turns(cases: Sequence[Case]) -> Iterator[str]:
    """One module on several sizes and numbers of prompts in turn gives what a fresh one gives on each."""
    _needs(len(cases) > 1 and not cases[0].is_function and not cases[0].train)
    alone = [(case, *_alone(case)) for case in cases]
    cases = [case for case, _, stays in alone if stays]
    _needs(len(cases) > 1)
    fresh = [outputs for _, outputs, stays in alone if stays]
    module = _prepared(cases[0])
    places = [*range(len(cases)), *reversed(range(len(cases)))]
    for place in places:
        case = cases[place]

        def again(dtype: torch.dtype, case: Case = case) -> Outputs:
            module = _prepared(cases[0], dtype)
            for other in cases:
                _run(other, module, other.tensors(), dtype)
            return _run(case, module, case.tensors(), dtype)

        found = _run(case, module, case.tensors(), torch.float32)
        for path in _differing(case, fresh[place], found, again):
            yield f"{case.id}: after other sizes the module gives another {path}"


def dtypes(cases: Sequence[Case]) -> Iterator[str]:
    """A module that was used in another dtype before gives what a fresh one gives, in float32 and in float64."""
    _needs(not cases[0].is_function and not cases[0].train)
    for case in cases:
        inputs = case.tensors()
        wanted = (torch.float32, torch.float64) if case.double else (torch.float32,)
        fresh = {dtype: _run(case, _prepared(case, dtype), inputs, dtype) for dtype in wanted}
        module = _prepared(case)
        assert module is not None
        for dtype in (*wanted, *wanted):
            found = _run(case, module.to(dtype), inputs, dtype)

            def again(dtype: torch.dtype, case: Case = case, module: nn.Module = module) -> Outputs:
                return _run(case, copy.deepcopy(module).to(dtype), case.tensors(), dtype)

            for path in _differing(case, fresh[dtype], found, again):
                yield f"{case.id}: after another dtype the module gives another {path} in {dtype}"


def threads(cases: Sequence[Case]) -> Iterator[str]:
    """A module that several threads share gives each what it gives alone."""
    _needs(not cases[0].is_function and not cases[0].train)
    shared, alone = _prepared(cases[0]), {}
    with unwatched():
        for case in cases:
            torch.manual_seed(SEED)
            before = torch.get_rng_state()
            outputs, stays = _alone(case)
            # Which thread draws which numbers is not settled.
            if torch.equal(torch.get_rng_state(), before) and stays:
                alone[case.id] = outputs
        _needs(bool(alone))
        work = [case for case in cases if case.id in alone for _ in range(4 if len(alone) == 1 else 2)]
        results = _among_threads(work, shared, torch.float32)
        for case, result in zip(work, results, strict=True):

            def again(dtype: torch.dtype, case: Case = case) -> Outputs:
                return _among_threads([case] * 4, _prepared(cases[0], dtype), dtype)[-1]

            for path in _differing(case, alone[case.id], result, again):
                yield f"{case.id}: among threads {path} differs"


def _among_threads(work: Sequence[Case], shared: nn.Module | None, dtype: torch.dtype) -> list[Outputs]:
    """What a shared module gives several threads at once."""
    workers = min(4, len(work))
    with ThreadPoolExecutor(workers, initializer=start_thread(workers)) as pool:
        return list(pool.map(lambda case: _run(case, shared, case.tensors(), dtype), work))


def copies(cases: Sequence[Case]) -> Iterator[str]:
    """Copies and pickles, made before and after a call, give the same bits and share no memory."""
    case = cases[0]
    _needs(not case.is_function)
    module, inputs = _prepared(case), case.tensors()
    made = {"a copy": copy.deepcopy(module), "a pickle": pickle.loads(pickle.dumps(module))}
    first = _run(case, copy.deepcopy(module), inputs, torch.float32)
    _run(case, module, inputs, torch.float32)
    if not case.train:
        made |= {"a later copy": copy.deepcopy(module), "a later pickle": pickle.loads(pickle.dumps(module))}
    assert module is not None
    places = {value.data_ptr() for value in module.state_dict().values() if value.numel()}
    for what, other in made.items():
        assert other is not None
        for name, value in other.state_dict().items():
            if value.numel() and value.data_ptr() in places:
                yield f"{case.id}: {what} shares the memory of {name}"

        def again(dtype: torch.dtype) -> Outputs:
            return _run(case, copy.deepcopy(_prepared(case, dtype)), inputs, dtype)

        for path in _differing(case, first, _run(case, other, inputs, torch.float32), again):
            yield f"{case.id}: {what} gives another {path}"


def deterministic(cases: Sequence[Case]) -> Iterator[str]:
    """Under deterministic algorithms everything runs, and gives the same numbers."""
    before = torch.are_deterministic_algorithms_enabled()
    for case in cases:
        module, inputs = _prepared(case), case.tensors()
        expected = _run(case, copy.deepcopy(module), inputs, torch.float32)
        torch.use_deterministic_algorithms(True)
        try:
            found = _run(case, module, inputs, torch.float32)
        finally:
            torch.use_deterministic_algorithms(before)
        for path in expected:
            if not torch.allclose(expected[path].double(), found[path].double(), rtol=1e-5, atol=1e-5):
                yield f"{case.id}: deterministic algorithms give another {path}"


def half(cases: Sequence[Case]) -> Iterator[str]:
    """bfloat16 weights and inputs run without autocast, and give finite outputs of that type or of float32."""
    for case in cases:
        if not case.double or case.train or case.call is not call_block:
            continue
        outputs = _run(case, _prepared(case, torch.bfloat16), case.tensors(), torch.bfloat16)
        for path, value in outputs.items():
            if value.is_floating_point() and value.dtype not in (torch.bfloat16, torch.float32):
                yield f"{case.id}: {path} is {value.dtype} in bfloat16"
            if not bool(torch.isfinite(value.float()).all()):
                yield f"{case.id}: {path} is not finite in bfloat16"


def meta(cases: Sequence[Case]) -> Iterator[str]:
    """On the meta device a module is made, and where called gives outputs of the same shapes and types."""
    case = cases[0]
    _needs(not case.is_function and case.variant is None and not case.train)
    with torch.device("meta"):
        from parity.execution.execute import resolve

        kwargs = {key: resolve(value, _library()) for key, value in case.kwargs.items()}
        made = _library().construct(case.block, kwargs)
    module = _prepared(case)
    real = {} if module is None else module.state_dict()
    for name, value in made.state_dict().items():
        if value.device.type != "meta" or value.shape != real[name].shape:
            yield f"{case.id}: {name} is {list(value.shape)} on {value.device}"
    if case.call is not call_block or module is None:
        return
    expected = _run(case, module, case.tensors(), torch.float32)
    inputs = {name: value.to("meta") for name, value in case.tensors().items()}
    with torch.no_grad():
        found = dict(flatten(module.to("meta")(*inputs.values())))
    for path, value in expected.items():
        if found[path].shape != value.shape or found[path].dtype != value.dtype:
            yield f"{case.id}: {path} is {list(found[path].shape)} {found[path].dtype} on meta"


def batches(cases: Sequence[Case]) -> Iterator[str]:
    """Each item of a batch gives what it gives alone, and an empty batch gives an empty result."""
    seen = False
    for case in cases:
        inputs = case.tensors()
        sizes = {value.shape[0] if value.ndim > 1 else 0 for value in inputs.values()}
        if (
            case.is_function
            or case.train
            or case.call is not call_block
            or len(sizes) != 1
            or sizes <= {0, 1}
        ):
            continue
        (batch,) = sizes
        module = _prepared(case)
        whole = _run(case, module, inputs, torch.float32)
        if any(value.ndim == 0 or value.shape[0] != batch for value in whole.values()):
            continue
        seen = True
        for item in range(batch):
            alone = _run(case, module, {k: v[item : item + 1] for k, v in inputs.items()}, torch.float32)
            for path, value in whole.items():
                size = float(value.abs().max())
                if float((alone[path][0].double() - value[item].double()).abs().max()) > 1e-5 * size:
                    yield f"{case.id}: item {item} of the batch gives another {path} than alone"
        empty = _run(case, module, {k: v[:0] for k, v in inputs.items()}, torch.float32)
        for path, value in whole.items():
            if empty[path].shape != (0, *value.shape[1:]) or empty[path].dtype != value.dtype:
                yield f"{case.id}: an empty batch gives {path} of shape {list(empty[path].shape)}"
    _needs(seen)


def shapes(cases: Sequence[Case]) -> Iterator[str]:
    """Every call of one of our modules, at any depth, has the shapes that its docstring promises."""
    checked = 0
    for case in cases:
        module = _prepared(case)
        if module is None:
            continue
        found = Shapes()

        def hook(part: nn.Module, args: Any, kwargs: Any, result: Any, found: Shapes = found) -> None:
            if type(part).__module__.startswith("samblocks."):
                found.call(part, args, kwargs, result)

        for part in module.modules():
            part.register_forward_hook(hook, with_kwargs=True)
        _run(case, module, case.tensors(), torch.float32)
        checked += found.checked
        yield from (f"{case.id}: {sentence}" for sentence in dict.fromkeys(found.wrong))
    _needs(checked > 0)


def _needs(condition: bool) -> None:
    if not condition:
        raise NotApplicable


CONTRACTS: dict[str, Contract] = {
    contract.__name__: contract
    for contract in (repeats, turns, dtypes, threads, copies, deterministic, half, meta, batches, shapes)
}
"""All contracts by name."""

DEMANDS = {
    "repeats": "the same bits again; inputs, tensors and settings untouched",
    "turns": "no trace of sizes and prompts that came before",
    "dtypes": "no trace of a dtype that came before",
    "threads": "the same for each of several threads",
    "copies": "copies and pickles give the same bits and share no memory",
    "deterministic": "runs under deterministic algorithms, with the same numbers",
    "half": "bfloat16 without autocast, finite",
    "meta": "the meta device tells shapes and types",
    "batches": "an item of a batch gives what it gives alone; an empty batch is one",
    "shapes": "every call has the shapes of its docstring",
}
"""What each contract demands, as a report says it."""
