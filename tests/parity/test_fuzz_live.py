"""Arguments, flags and shapes drawn at random, run on ours and on live references: `pytest -m live tests/parity`."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parity.case import Case
from parity.cases import find, fuzz
from parity.compare import Verdict
from parity.references import REFERENCES
from parity.references.client import Client, interpreter
from parity.runner import jobs, run

EXAMPLES = int(os.environ.get("PARITY_FUZZ_EXAMPLES", "40"))
live = pytest.mark.live
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
side, batch = st.integers(1, 14), st.integers(1, 3)
flag = st.booleans()


@pytest.fixture(scope="module", params=["meta", "ultralytics"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    python = interpreter()
    if python is None:
        pytest.skip("the references' environment is missing: make references")
    with Client(REFERENCES[request.param], python) as started:
        yield started


def _holds(client: Client, case: Case) -> None:
    rows = list(run(list(jobs([case])), [client]))
    assert rows
    failed = [row for row in rows if row.comparison.verdict.failed]
    assert not failed, "\n".join(f"{r.id} {r.dtype} {r.output}: {r.comparison}" for r in failed)
    assert any(row.comparison.verdict is not Verdict.NO_COUNTERPART for row in rows)


@st.composite
def _multi_scale_block(draw: Any) -> Case:
    heads = draw(st.sampled_from([1, 2, 3]))
    dim = heads * draw(st.integers(1, 4)) * 2
    wider = draw(flag)
    pool = wider and draw(flag)
    # Upstream cannot pool a whole map: it divides by the window's side.
    window = draw(st.sampled_from([2, 4, 6] if pool else [0, 1, 2, 3, 4, 7]))
    kwargs = {"dim": dim, "dim_out": 2 * dim if wider else dim, "num_heads": heads, "window_size": window}
    kwargs |= {"mlp_ratio": draw(st.sampled_from([1.0, 2.5, 4.0]))}
    if pool:
        kwargs["q_stride"] = [2, 2]
    least = 2 if pool else 1
    shape = [draw(batch), draw(st.integers(least, 13)), draw(st.integers(least, 13)), dim]
    if pool:
        # One row more than the windows hold: upstream then counts fewer windows after the pool than before it,
        # and takes the rest for further items of the batch.
        shape[1:3] = [size + (size % window == 1) for size in shape[1:3]]
    return fuzz.drawn("MultiScaleBlock", kwargs, {"x": shape})


@st.composite
def _block(draw: Any) -> Case:
    heads = draw(st.sampled_from([1, 2, 4]))
    dim, window = heads * draw(st.integers(1, 4)) * 2, draw(st.sampled_from([0, 1, 2, 3, 5]))
    height, width = draw(side), draw(side)
    table = [draw(side), draw(side)] if draw(flag) else [height, width]
    kwargs = {
        "dim": dim,
        "num_heads": heads,
        "window_size": window,
        "qkv_bias": draw(flag),
        "use_rel_pos": draw(flag),
        "mlp_ratio": draw(st.sampled_from([0.5, 2.0, 3.3])),
        "input_size": table,
    }
    return fuzz.drawn("Block", kwargs, {"x": [draw(batch), height, width, dim]})


@st.composite
def _windows(draw: Any) -> Case:
    shape = [draw(batch), draw(st.integers(1, 20)), draw(st.integers(1, 20)), draw(st.integers(1, 5))]
    return fuzz.drawn("window_partition", {}, {"x": shape}, window_size=draw(st.integers(1, 16)))


@st.composite
def _rope(draw: Any) -> Case:
    heads, rate = draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 2]))
    dim, grid = 4 * heads * rate * draw(st.integers(1, 3)), draw(st.integers(1, 6))
    frames, pointers = draw(st.integers(0, 3)), draw(st.integers(0, 5))
    if frames + pointers == 0:
        frames = 1
    kwargs = {
        "embedding_dim": dim,
        "num_heads": heads,
        "downsample_rate": rate,
        "rope_k_repeat": True,
        "feat_sizes": [grid, grid] if draw(flag) else [7, 7],
        "rope_theta": draw(st.sampled_from([10.0, 10000.0])),
    }
    wide = draw(st.sampled_from([None, 3, 8]))
    if wide is not None:
        kwargs["kv_in_dim"] = wide
    rows, keys = draw(batch), frames * grid * grid + pointers
    inputs = {
        "q": [rows, grid * grid, dim],
        "k": [rows, keys, wide or dim],
        "v": [rows, keys, wide or dim],
    }
    return fuzz.drawn("RoPEAttention", kwargs, inputs, num_k_exclude_rope=pointers)


@st.composite
def _down_sampler(draw: Any) -> Case:
    stride = draw(st.sampled_from([2, 4]))
    total = stride ** draw(st.integers(0, 2 if stride == 4 else 3))
    kernel = stride + draw(st.integers(0, 2))
    kwargs = {
        "embed_dim": draw(st.integers(1, 9)),
        "kernel_size": kernel,
        "stride": stride,
        "padding": draw(st.integers(0, kernel // 2)),
        "total_stride": total,
    }
    # Three more pixels than one output needs, for every step: so nothing shrinks to nothing.
    least = 4 * total + 4
    shape = [draw(batch), 1, draw(st.integers(least, least + 20)), draw(st.integers(least, least + 20))]
    return fuzz.drawn("MaskDownSampler", kwargs, {"x": shape})


@st.composite
def _prompts(draw: Any) -> Case:
    height, width = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    kwargs = {
        "embed_dim": 4 * draw(st.integers(1, 4)),
        "image_embedding_size": [height, width],
        "input_image_size": [16 * height, 16 * width],
        "mask_in_chans": 4 * draw(st.integers(1, 3)),
    }
    rows, inputs = draw(batch), {}
    if draw(flag):
        points = draw(st.integers(1, 5))
        inputs |= {"points": [rows, points, 2], "labels": [rows, points]}
    if draw(flag):
        inputs["boxes"] = [rows, 4]
    if draw(flag):
        inputs["masks"] = [rows, 1, 4 * height, 4 * width]
    return fuzz.drawn("PromptEncoder", kwargs, inputs)


@live
@fuzzed
@given(case=_multi_scale_block())
def test_multi_scale_block(client: Client, case: Case) -> None:
    _holds(client, case)


@live
@fuzzed
@given(case=_block())
def test_block(client: Client, case: Case) -> None:
    _holds(client, case)


@live
@fuzzed
@given(case=_windows())
def test_windows(client: Client, case: Case) -> None:
    _holds(client, case)


@live
@fuzzed
@given(case=_rope())
def test_rope_attention(client: Client, case: Case) -> None:
    _holds(client, case)


@live
@fuzzed
@given(case=_down_sampler())
def test_mask_down_sampler(client: Client, case: Case) -> None:
    _holds(client, case)


@live
@fuzzed
@given(case=_prompts())
def test_prompt_encoder(client: Client, case: Case) -> None:
    _holds(client, case)


def test_a_drawn_case_is_made_again_from_its_id() -> None:
    case = fuzz.drawn("MultiScaleBlock", {"dim": 4, "q_stride": [2, 2]}, {"x": [1, 2, 3, 4]})
    again = find(case.id)
    assert again.id == case.id
    assert again.kwargs == {"dim": 4, "q_stride": (2, 2)}
    assert (again.tensors()["x"] == case.tensors()["x"]).all()
