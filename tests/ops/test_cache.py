"""The store of tables: bounded, safe from threads, and free of what belongs to a trace."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import grad

from samblocks.ops.cache import TableCache


def ramp(count: int) -> tuple[Tensor]:
    return (torch.arange(count, dtype=torch.float32),)


def test_the_entry_unused_for_longest_goes_first() -> None:
    cache, like = TableCache(capacity=2), torch.zeros(1)
    a = cache.get("a", lambda: ramp(1), like=like)
    cache.get("b", lambda: ramp(2), like=like)
    assert cache.get("a", lambda: ramp(9), like=like) is a
    cache.get("c", lambda: ramp(3), like=like)
    assert len(cache) == 2
    assert cache.get("a", lambda: ramp(9), like=like) is a
    assert cache.get("b", lambda: ramp(9), like=like)[0].numel() == 9
    cache.clear()
    assert len(cache) == 0


def test_tables_made_in_inference_mode_are_ordinary() -> None:
    cache = TableCache()
    with torch.inference_mode():
        (table,) = cache.get("a", lambda: ramp(3), like=torch.zeros(1))
    assert not table.is_inference()
    assert torch.is_inference_mode_enabled() is False


def test_what_a_function_transform_wraps_is_not_kept() -> None:
    cache = TableCache()

    def loss(x: Tensor) -> Tensor:
        return (x * cache.get("a", lambda: ramp(3), like=x)[0]).sum()

    assert grad(loss)(torch.ones(3)).tolist() == [0.0, 1.0, 2.0]
    assert len(cache) == 0
    kept = cache.get("a", lambda: ramp(3), like=torch.zeros(1))
    assert grad(loss)(torch.ones(3)).tolist() == [0.0, 1.0, 2.0]
    assert cache.get("a", lambda: ramp(3), like=torch.zeros(1)) is kept


def test_fake_tensors_neither_find_nor_leave_anything() -> None:
    cache = TableCache()
    cache.get("a", lambda: ramp(3), like=torch.zeros(1))
    with FakeTensorMode() as mode:
        like = mode.from_tensor(torch.zeros(1))
        assert type(cache.get("a", lambda: ramp(3), like=like)[0]) is not Tensor
        cache.get("b", lambda: ramp(3), like=like)
        cache.get("c", lambda: ramp(3), like=torch.nn.Parameter(torch.zeros(1)))
    assert len(cache) == 1


def test_nothing_is_looked_up_or_kept_while_a_graph_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, like = TableCache(), torch.zeros(1)
    kept = cache.get("a", lambda: ramp(3), like=like)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert cache.get("a", lambda: ramp(3), like=like) is not kept
    cache.get("b", lambda: ramp(3), like=like)
    assert len(cache) == 1


def test_threads_may_share_it() -> None:
    cache, like = TableCache(capacity=4), torch.zeros(1)
    counts = [1 + index % 9 for index in range(400)]
    with ThreadPoolExecutor(max_workers=8) as pool:
        found = list(pool.map(lambda n: cache.get(n, lambda: ramp(n), like=like)[0].numel(), counts))
    assert found == counts
    assert len(cache) == 4
