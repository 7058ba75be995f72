"""`parity.diverge.store`: recorded values come back as they were, down to their order in memory."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from parity.diverge.store import OpaqueError, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


_X = torch.arange(24, dtype=torch.float32).reshape(1, 2, 3, 4)


@pytest.mark.parametrize(
    "tensor",
    [
        _X,
        _X.permute(0, 3, 1, 2),
        _X.transpose(1, 3),
        _X.to(memory_format=torch.channels_last),
        _X[:, :, ::2],
        _X[:, :1].expand(2, 5, 3, 4),
        _X > 3,
        _X.long(),
        _X.bfloat16(),
        torch.tensor(1.5),
        torch.zeros(0, 3),
        torch.complex(_X, _X + 1),
        torch.complex(_X, _X).permute(3, 0, 1, 2).conj(),
    ],
    ids=lambda tensor: f"{tensor.dtype}{list(tensor.shape)}{tensor.stride()}",
)
def test_tensors(store: Store, tensor: Tensor) -> None:
    back = store.decode(store.encode(tensor))
    assert torch.equal(back, tensor)
    assert back.dtype == tensor.dtype
    dense = tensor.is_contiguous() or tensor.permute(0, 2, 3, 1).is_contiguous() if tensor.ndim == 4 else True
    if dense:
        assert back.stride() == tensor.stride()


def test_structures(store: Store) -> None:
    value: Any = {"a": [_X, (1, 2.5, "word", None, True)], 3: {"b": _X}}
    back = store.decode(store.encode(value))
    assert back["a"][1] == (1, 2.5, "word", None, True)
    assert torch.equal(back[3]["b"], _X)
    assert list(store.tensors(store.encode(value))) == ["a/0", "a/1/0", "a/1/1", "a/1/4", "3/b"]


def test_equal_tensors_are_kept_once_and_come_back_apart(store: Store) -> None:
    tree = store.encode([_X, _X.clone(), _X.permute(0, 2, 3, 1)])
    assert len(list(store.folder.iterdir())) == 1  # the last one is the first, seen in another order
    first, second, _ = store.decode(tree)
    first += 1
    assert torch.equal(second, _X)


def test_wide(store: Store) -> None:
    tree = store.encode([_X, _X.long(), torch.complex(_X, _X)])
    assert [value.dtype for value in store.decode(tree, wide=True)] == [
        torch.float64,
        torch.int64,
        torch.complex128,
    ]


def test_what_is_no_data_cannot_come_back(store: Store) -> None:
    with pytest.raises(OpaqueError, match="a function among its arguments"):
        store.decode(store.encode([lambda: None]))
