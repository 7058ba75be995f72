"""A tensor is never read as another one: any view that torch can save reads as torch reads it, or is refused."""

import inspect
import warnings
from collections import Counter
from typing import Any

import pytest
import torch
import torch._tensor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pickle_parts import archive_of, number, sequence, text
from torch import nn

from samblocks.checkpoints.reading.read import read
from samblocks.checkpoints.reading.rebuilt_tensors import ARGUMENTS
from samblocks.errors import CheckpointError
from samblocks.layouts.tensors import TORCH_DTYPES

DTYPES = sorted({v for v in vars(torch).values() if isinstance(v, torch.dtype)}, key=str)


def random_bits(dtype, count, seed):
    """Elements of any bits that the dtype has: negative zeros and NaNs among them."""
    raw = torch.randint(0, 256, (count * dtype.itemsize,), generator=torch.Generator().manual_seed(seed))
    if dtype == torch.bool:
        raw %= 2
    return raw.to(torch.uint8).view(dtype)


@st.composite
def views(draw):
    """A view of a view of … a tensor of any dtype."""
    dtypes = st.sampled_from([*TORCH_DTYPES.values(), *[torch.complex64] * 4]) | st.sampled_from(DTYPES)
    made = random_bits(draw(dtypes), 48, draw(st.integers(0, 99))).view(2, 4, 6)
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.integers(0, 11))
        try:
            match kind:
                case 0:
                    made = made.transpose(0, -1)
                case 1:
                    made = made[1:]
                case 2:
                    made = made[..., :: draw(st.integers(1, 3))]
                case 3:
                    made = made.expand(2, *made.shape)
                case 4:
                    made = made.conj()
                case 5:
                    made = torch._neg_view(made)
                case 6:
                    made = draw(st.sampled_from([torch.real, torch.imag]))(made)
                case 7:
                    made = draw(st.sampled_from([torch.view_as_real, torch.view_as_complex]))(made)
                case 8:
                    made = made.view(draw(st.sampled_from(DTYPES)))
                case 9:
                    made = made.unfold(-1, 2, 1)
                case 10:
                    made = made.diagonal()
                case _:
                    made = nn.Parameter(made, requires_grad=made.is_floating_point())
        except (RuntimeError, IndexError, TypeError, NotImplementedError):
            continue  # this view does not have it
    return made


def bits(tensor):
    """The bytes of the values; where they were negated, which bits a NaN then has is the kernel's affair."""
    plain = tensor.detach().resolve_conj().resolve_neg()
    plain = plain.new_empty(plain.shape).copy_(plain)
    if plain.is_complex():
        plain = torch.view_as_real(plain)
    return plain.reshape(-1).view(torch.uint8)


def same_bits(got, want):
    if not (want.is_neg() or want.is_conj()):
        return torch.equal(bits(got), bits(want))
    one, other = (
        torch.view_as_real(t) if t.is_complex() else t for t in (got, want.resolve_conj().resolve_neg())
    )
    nans = one.isnan()
    return torch.equal(nans, other.isnan()) and torch.equal(
        bits(one.masked_fill(nans, 0)), bits(other.masked_fill(nans, 0))
    )


def test_any_view_reads_as_torch_reads_it_or_is_refused(tmp_path):
    read_: Counter[Any] = Counter()
    path = tmp_path / "a.pt"

    @settings(
        max_examples=400,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(made=views(), zipped=st.booleans())
    def one(made, zipped):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.save({"a": made}, path, _use_new_zipfile_serialization=zipped)
                want = (
                    torch.load(path, weights_only=True)["a"] if zipped else made
                )  # it reads not all old ones
        except (RuntimeError, NotImplementedError, AttributeError, KeyError):
            return  # torch cannot save it
        try:
            file = read(path)
        except CheckpointError:
            read_["refused"] += 1
            return
        got = file.get("a")
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        assert same_bits(got.detach(), want.detach())
        read_[got.dtype] += 1

    one()
    assert 3 * read_["refused"] < 2 * read_.total()
    assert len(read_) > 10


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("zipped", [True, False])
def test_negative_and_conjugate_bits(tmp_path, zipped, mmap):
    base = random_bits(torch.float32, 24, 1).nan_to_num(0.0)
    complex_ = torch.view_as_complex(base.clone().view(3, 4, 2))
    state = {
        "negative": torch._neg_view(base),
        "conjugate": complex_.conj(),
        "both": torch._neg_view(complex_.conj()),
        "imaginary": complex_.clone().conj().imag,
        "turned": complex_.conj().t()[1:],
        "parameter": nn.Parameter(torch._neg_view(base.clone())),
    }
    assert state["imaginary"].is_neg()
    torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    file = read(tmp_path / "a.pt", mmap=mmap)
    for name, want in state.items():
        assert torch.equal(bits(file.get(name)), bits(want)), name
        assert not file.get(name).is_neg()
        assert not file.get(name).is_conj()


STORAGE = sequence([text("storage"), b"ctorch\nFloatStorage\n", text("0"), text("cpu"), number(6)]) + b"Q"
HOOKS = b"ccollections\nOrderedDict\n)R"
PLACE = {
    "storage": STORAGE,
    "storage_offset": number(0),
    "size": sequence([number(2), number(3)]),
    "stride": sequence([number(3), number(1)]),
}
GOOD = {
    **PLACE,
    "requires_grad": b"\x89",
    "backward_hooks": HOOKS,
    "metadata": b"}",
    "dtype": b"ctorch\nfloat32\n",
    "data": b"ctorch._utils\n_rebuild_tensor\n" + sequence(list(PLACE.values())) + b"R",
    "state": b"}" + text("expert") + b"\x88s",
    "func": b"ctorch._utils\n_rebuild_tensor\n",
    "new_type": b"ctorch\nTensor\n",
    "args": sequence(list(PLACE.values())),
}
STRANGE = {
    "text": text("strange"),
    "number": number(7),
    "table": b"}" + text("strange") + b"Ks".replace(b"K", b"K\x01"),
    "list": b"]K\x01a",
    "data": b"}" + text("data") + GOOD["data"] + b"s",
}
HARMLESS = {("storage_offset", "number"), ("state", "table")}


def call(name, arguments):
    module, _, function = name.rpartition(".")
    made = f"c{module}\n{function}\n".encode() + sequence(list(arguments)) + b"R"
    return archive_of(b"\x80\x02}" + text("a") + made + b"s.")


def rebuilding():
    """Every function of torch by which a pickle makes a tensor."""
    for module in (torch._utils, torch._tensor):
        for name, function in vars(module).items():
            if name.startswith("_rebuild") and function.__module__ == module.__name__:
                yield f"{module.__name__}.{name}", function


def test_no_function_of_torch_goes_unlooked_at(tmp_path):
    functions = dict(rebuilding())
    assert functions.keys() > ARGUMENTS.keys()
    path = tmp_path / "a.pt"
    for name, function in functions.items():
        if name in ARGUMENTS:
            assert tuple(inspect.signature(function).parameters) == ARGUMENTS[name]
            path.write_bytes(call(name, [GOOD[argument] for argument in ARGUMENTS[name]]))
            assert read(path).tensors["a"].shape == (2, 3)
        else:
            path.write_bytes(call(name, []))
            with pytest.raises(CheckpointError, match=name.rpartition(".")[2]):
                read(path)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_no_argument_goes_unlooked_at(tmp_path, name):
    path = tmp_path / "a.pt"
    arguments = ARGUMENTS[name]
    for argument in arguments:
        for kind, strange in STRANGE.items():
            if (argument, kind) in HARMLESS:
                continue
            given_ = [strange if one == argument else GOOD[one] for one in arguments]
            path.write_bytes(call(name, given_))
            with pytest.raises(CheckpointError, match=r"cannot be read|outside its storage"):
                read(path)
    for wrong in (arguments[:-2], (*arguments, "requires_grad")):
        path.write_bytes(call(name, [GOOD[one] for one in wrong]))
        with pytest.raises(CheckpointError, match="arguments"):
            read(path)


@pytest.mark.parametrize("target", ["tensor", "storage"])
@pytest.mark.parametrize("change", [b"}b", b")b", b"K\x00K\x01s", b"K\x01a", b"(K\x01e", b"(K\x00K\x01u"])
def test_nothing_changes_a_tensor_that_was_made(tmp_path, target, change):
    made = GOOD["data"] if target == "tensor" else STORAGE
    (tmp_path / "a.pt").write_bytes(archive_of(b"\x80\x02}" + text("a") + made + change + b"s."))
    with pytest.raises(CheckpointError, match=r"changes a tensor|no table|no list"):
        read(tmp_path / "a.pt")


@pytest.mark.parametrize("kind", ["torch\nTensor", "torch.nn.parameter\nParameter"])
@pytest.mark.parametrize("operation", [b"R", b"\x81"])
def test_a_tensor_that_no_function_rebuilds(tmp_path, kind, operation):
    made = f"c{kind}\n".encode() + sequence([GOOD["data"]]) + operation
    (tmp_path / "a.pt").write_bytes(archive_of(b"\x80\x02}" + text("a") + made + b"s."))
    with pytest.raises(CheckpointError, match=kind.partition("\n")[2]):
        read(tmp_path / "a.pt")


def test_attributes_of_the_users_own_are_no_hindrance(tmp_path):
    tensor, parameter = torch.arange(3.0), nn.Parameter(torch.arange(4.0))
    vars(tensor)["note"], vars(parameter)["expert"] = "kept by torch", True
    torch.save({"a": tensor, "b": parameter}, tmp_path / "a.pt")
    file = read(tmp_path / "a.pt")
    assert torch.equal(file.get("a"), torch.arange(3.0))
    assert torch.equal(file.get("b"), torch.arange(4.0))
