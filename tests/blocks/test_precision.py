"""Every block in every floating-point type, without autocast; float64 stays float64 to the last operator."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from parity.execution import fill
from samblocks import blocks
from samblocks.ops import half_precision
from samblocks.ops.half_precision import half_in_float32

# Encodings of pixels are given in float32 for every half type, as upstream gives them.
ALWAYS_FLOAT32 = {"PositionEmbeddingSine"}
TOLERANCE = {torch.bfloat16: 0.06, torch.float16: 0.01, torch.float32: 1e-5}


class Watch(TorchDispatchMode):
    """Collects the dtypes that operators return."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.seen.update(leaf.dtype for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        return result


def run(sample: Any, dtype: torch.dtype) -> Any:
    """The sample in `dtype`, with the values that all types share: those of bfloat16."""
    module = sample.filled()
    for entry in module.state_dict().values():
        entry.copy_(entry.bfloat16())
    inputs = {
        name: value.bfloat16().to(dtype) if isinstance(value, Tensor) else value
        for name, value in sample.inputs().items()
    }
    with torch.no_grad():
        return module.to(dtype)(**inputs)


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
def test_each_type_runs_without_autocast_and_agrees_with_float64(sample, leaves, dtype) -> None:
    truths, found = leaves(run(sample, torch.float64)), leaves(run(sample, dtype))
    for truth, out in zip(truths, found, strict=True):
        assert truth.dtype == torch.float64
        assert out.dtype == (torch.float32 if sample.name in ALWAYS_FLOAT32 else dtype)
        assert out.isfinite().all()
        assert (out.double() - truth).abs().max() <= TOLERANCE[dtype] * truth.abs().max()


def test_a_run_in_float64_has_nothing_narrower_in_it(sample) -> None:
    module, inputs = sample.filled(torch.float64), sample.inputs(torch.float64)
    with torch.no_grad(), Watch() as watch:
        module(**inputs)
    narrow = {torch.float32, torch.float16, torch.bfloat16, torch.complex64}
    assert not watch.seen & narrow


def test_modules_follow_to_and_back(sample, leaves) -> None:
    module = sample.filled()
    with torch.no_grad():
        expected = leaves(module(**sample.inputs()))
        module.double()(**sample.inputs(torch.float64))
        module.float()
        found = leaves(module(**sample.inputs()))
    assert all(torch.equal(*pair) for pair in zip(expected, found, strict=True))


def test_autocast_works_too(sample, leaves) -> None:
    module = sample.filled()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = leaves(module(**sample.inputs()))
    assert all(out.isfinite().all() for out in outputs)


def test_tables_know_their_dtype_and_device() -> None:
    encoding = blocks.PositionEmbeddingSine(8)
    for dtype, expected in (
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
        (torch.bfloat16, torch.float32),
        (torch.uint8, torch.float32),
    ):
        assert encoding(torch.zeros(1, 1, 3, 4, dtype=dtype)).dtype == expected
    assert encoding(torch.zeros(1, 1, 3, 4, device="meta")).device.type == "meta"
    assert encoding(torch.zeros(1, 1, 3, 4)).device.type == "cpu"
    attention = blocks.RoPEAttention(16, 2, feat_sizes=(2, 2))
    assert attention.freqs_cis.dtype == torch.complex64
    assert attention.half().freqs_cis.dtype == torch.complex64
    assert attention.double().freqs_cis.dtype == torch.complex128
    assert attention.to("meta").freqs_cis.device.type == "meta"


def test_rotation_of_half_types_is_computed_in_float32() -> None:
    q = fill.tensor("q", (1, 1, 400, 8)).bfloat16()
    table = blocks.compute_axial_cis(8, 20, 20)
    turned, _ = blocks.apply_rotary_enc(q, q, table)
    wide, _ = blocks.apply_rotary_enc(q.float(), q.float(), table)
    assert torch.equal(turned, wide.bfloat16())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_random_encodings_of_half_types_are_rounded_once(dtype: torch.dtype) -> None:
    encoding = fill.fill_(blocks.PositionEmbeddingRandom(8)).to(dtype)
    wide = blocks.PositionEmbeddingRandom(8)
    wide.load_state_dict(encoding.state_dict())
    assert torch.equal(encoding((40, 50)), wide((40, 50)).to(dtype))


@pytest.mark.parametrize(
    "dtype", [torch.int64, torch.int32, torch.float16, torch.float32, torch.float64], ids=str
)
def test_random_encodings_take_coordinates_of_any_type(dtype: torch.dtype) -> None:
    encoding = fill.fill_(blocks.PositionEmbeddingRandom(8))
    coords = torch.tensor([[[3, 5], [60, 2]]])
    expected = encoding.forward_with_coords(coords.float(), (64, 96))
    assert torch.equal(encoding.forward_with_coords(coords.to(dtype), (64, 96)), expected)


def test_coordinates_in_float64_are_rounded_after_they_were_divided() -> None:
    """SAM's mask generator gives float64 coordinates to a model in float32."""
    encoding = fill.fill_(blocks.PositionEmbeddingRandom(8))
    coords = torch.rand(1, 500, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 96
    divided = coords / torch.tensor([96, 72], dtype=torch.float64)
    expected = encoding._pe_encoding(divided.float())
    assert torch.equal(encoding.forward_with_coords(coords, (72, 96)), expected)
    assert not torch.equal(encoding.forward_with_coords(coords.float(), (72, 96)), expected)


def test_a_mask_of_bool_takes_the_dtype_of_the_weights() -> None:
    mask = fill.tensor("mask", (1, 1, 16, 16)) > 0
    for interpol_size in (None, (32, 32)):
        sampler = fill.fill_(blocks.MaskDownSampler(8, interpol_size=interpol_size)).bfloat16()
        assert torch.equal(sampler(mask), sampler(mask.bfloat16()))
        assert sampler(mask).dtype == torch.bfloat16


WITHOUT_PRODUCTS = {"PositionEmbeddingSine", "PositionEmbeddingRandom", "DropPath", "LayerNorm2d"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_nearer_when_computed_in_float32(
    sample: Any, leaves: Any, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every block with a product in it has both ways, whatever the processor; results have the same dtypes."""
    twins: list[nn.Module] = []
    twin = half_precision._twin
    monkeypatch.setattr(
        half_precision, "_twin", lambda module, made: twins.append(module) or twin(module, made)
    )
    truths = leaves(run(sample, torch.float64))
    found: dict[bool, list[Tensor]] = {}
    for wide in (False, True):
        with half_in_float32(wide):
            found[wide] = leaves(run(sample, dtype))
        assert bool(twins) == (wide and sample.name not in WITHOUT_PRODUCTS)
    for truth, rounded, once in zip(truths, *found.values(), strict=True):
        assert rounded.dtype == once.dtype
        scale = truth.square().mean().sqrt()
        of_steps, of_one = ((x.double() - truth).square().mean().sqrt() / scale for x in (rounded, once))
        assert of_one <= 1.05 * of_steps + 1e-12
