"""The step is named where a fast path calls projections late, in chunks or not at all, which upstream does not do."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from parity.diverge import Report, diverge
from parity.execution import fill
from samblocks import plain_paths
from samblocks.blocks import Block, RoPEAttention, compute_axial_cis
from samblocks.ops.chunking import SMALLEST, use_chunk_sizes


class Written(nn.Module):
    """SAM 2's attention on its memory as upstream has it: all four projections are called, in this order."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = nn.Linear(16, 16), nn.Linear(4, 16), nn.Linear(4, 16)
        self.out_proj = nn.Linear(16, 16)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, num_k_exclude_rope: int = 0) -> Tensor:
        q, k, v = self.q_proj(q), self.k_proj(k), self.v_proj(v)
        turns = compute_axial_cis(16, 3, 4).to(torch.promote_types(q.dtype, torch.complex64))
        q, k = (
            torch.view_as_real(torch.view_as_complex(x.reshape(*x.shape[:-1], 8, 2)) * turns).flatten(-2)
            for x in (q, k)
        )
        out: Tensor = self.out_proj(functional.scaled_dot_product_attention(q, k, v))
        return out


def rotary(**changes: Any) -> RoPEAttention:
    return fill.fill_(RoPEAttention(16, 1, kv_in_dim=4, feat_sizes=(3, 4), **changes)).eval()


def searched(candidate: nn.Module) -> Report:
    q, k, v = (fill.tensor(name, (2, 12, width)) for name, width in (("q", 16), ("k", 4), ("v", 4)))
    return diverge(candidate, fill.fill_(Written()).eval(), {"q": q, "k": k, "v": v})


def test_late_projections_are_no_finding() -> None:
    assert searched(rotary())


def test_a_mistake_among_late_projections_is_named_by_the_order_of_upstream() -> None:
    """Values are projected after they were gathered: on the fast path all lies before that projection."""
    (culprit,) = searched(rotary(rope_theta=100.0)).culprits
    assert culprit.tap.name == "(model)"
    assert culprit.step == "between v_proj and out_proj"


def test_a_mistake_of_the_fast_path_alone_is_named_so(monkeypatch: pytest.MonkeyPatch) -> None:
    right = RoPEAttention._gather_narrow
    monkeypatch.setattr(RoPEAttention, "_gather_narrow", lambda *given: right(*given) * 1.001)
    (culprit,) = searched(rotary()).culprits
    assert culprit.step == "on a fast path alone: under samblocks.plain_paths() it holds"


class Plain(Block):
    """A block that takes no fast path, as upstream's."""

    def forward(self, x: Tensor) -> Tensor:
        with plain_paths():
            return super().forward(x)


def test_a_mistake_in_chunks_of_windows_is_named_by_its_step() -> None:
    reference = fill.fill_(Plain(12, 2, use_rel_pos=True, window_size=3, input_size=(3, 3))).eval()
    candidate = fill.fill_(Block(12, 2, use_rel_pos=True, window_size=3, input_size=(3, 3))).eval()
    x = fill.tensor("x", (1, 9, 6, 12))
    with use_chunk_sizes(SMALLEST):
        assert diverge(copy.deepcopy(candidate), reference, x)
        attention = candidate.attn
        attention.rel_pos_h, attention.rel_pos_w = attention.rel_pos_w, attention.rel_pos_h
        (culprit,) = diverge(candidate, reference, x).culprits
    assert culprit.tap.name == "attn"
    assert culprit.step == "between qkv and proj"
