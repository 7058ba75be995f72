"""Arguments, flags and shapes drawn at random, run on ours and on live references: `pytest -m live tests/parity`."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parity.cases import find, fuzz
from parity.execution.case import Case
from parity.run.job import jobs
from parity.run.runner import run
from parity.verdict.compare import Verdict
from parity.workers.client import Client, interpreter
from parity.workers.registry import REFERENCES

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


@pytest.fixture(scope="module")
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    python = interpreter()
    if python is None:
        pytest.skip("the references' environment is missing: make references")
    with Client(REFERENCES[request.param], python) as started:
        yield started


def against(*names: str) -> Callable[[Any], Any]:
    """The references that have the block; what one of them lacks or is known to do otherwise is not drawn for it."""

    def mark(test: Any) -> Any:
        drawn = fuzzed(given(data=st.data())(test))
        return live(pytest.mark.parametrize("client", names, indirect=True)(drawn))

    return mark


ALL = against("meta", "ultralytics", "transformers", "timm")
WITHOUT_TIMM = against("meta", "ultralytics", "transformers")
WITHOUT_TRANSFORMERS = against("meta", "ultralytics", "timm")
META_AND_ULTRALYTICS = against("meta", "ultralytics")


def _holds(client: Client, case: Case) -> None:
    rows = list(run(list(jobs([case])), [client]))
    assert rows
    failed = [row for row in rows if row.comparison.verdict.failed]
    assert not failed, "\n".join(f"{r.id} {r.dtype} {r.output}: {r.comparison}" for r in failed)
    assert any(row.comparison.verdict is not Verdict.NO_COUNTERPART for row in rows)


@st.composite
def _multi_scale_block(draw: Any, of: str) -> Case:
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
def _block(draw: Any, of: str) -> Case:
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
def _windows(draw: Any, of: str) -> Case:
    shape = [draw(batch), draw(st.integers(1, 20)), draw(st.integers(1, 20)), draw(st.integers(1, 5))]
    return fuzz.drawn("window_partition", {}, {"x": shape}, window_size=draw(st.integers(1, 16)))


@st.composite
def _rope(draw: Any, of: str) -> Case:
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
    if (
        of == "transformers"
    ):  # it rotates the announced grid only, by angles that the whole model's settings name
        kwargs |= {"feat_sizes": [grid, grid], "rope_theta": 10000.0}
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
def _down_sampler(draw: Any, of: str) -> Case:
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
def _prompts(draw: Any, of: str) -> Case:
    height, width = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    if of == "transformers":  # its maps are square
        width = height
    kwargs = {
        "embed_dim": 4 * draw(st.integers(1, 4)),
        "image_embedding_size": [height, width],
        "input_image_size": [16 * height, 16 * width],
        "mask_in_chans": 4 * draw(st.integers(1, 3)),
    }
    rows = draw(batch)
    inputs: dict[str, list[int]] = {}
    if draw(flag):
        points = draw(st.integers(1, 5))
        inputs |= {"points": [rows, points, 2], "labels": [rows, points]}
    if of != "transformers" and draw(flag):  # a box is three tokens there, with a padding point
        inputs["boxes"] = [rows, 4]
    if draw(flag) or (of == "transformers" and not inputs):  # which is never called without a prompt
        inputs["masks"] = [rows, 1, 4 * height, 4 * width]
    return fuzz.drawn("PromptEncoder", kwargs, inputs)


@st.composite
def _patch_embed(draw: Any, of: str) -> Case:
    kernel = [draw(st.integers(1, 7)), draw(st.integers(1, 7))]
    kwargs = {
        "kernel_size": kernel,
        "stride": [draw(st.integers(1, 5)), draw(st.integers(1, 5))],
        "padding": [draw(st.integers(0, size // 2)) for size in kernel],
        "in_chans": draw(st.integers(1, 4)),
        "embed_dim": draw(st.integers(2, 9)),
    }
    shape = [draw(batch), kwargs["in_chans"], draw(st.integers(7, 20)), draw(st.integers(7, 20))]
    return fuzz.drawn("PatchEmbed", kwargs, {"x": shape})


@st.composite
def _layer_norm_2d(draw: Any, of: str) -> Case:
    kwargs = {"num_channels": draw(st.integers(4, 40)), "eps": draw(st.sampled_from([1e-6, 1e-3, 1.0]))}
    shape = [draw(batch), kwargs["num_channels"], draw(side), draw(side)]
    return fuzz.drawn("LayerNorm2d", kwargs, {"x": shape})


@st.composite
def _perceptron(draw: Any, of: str) -> Case:
    kwargs = {"embedding_dim": draw(st.integers(1, 20)), "mlp_dim": draw(st.integers(1, 40))}
    return fuzz.drawn(
        "MLPBlock", kwargs, {"x": [draw(batch), draw(side), draw(side), kwargs["embedding_dim"]]}
    )


@st.composite
def _two_way(draw: Any, of: str) -> Case:
    heads, rate = draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 2]))
    dim = 4 * heads * rate * draw(st.integers(1, 3))
    kwargs = {
        "embedding_dim": dim,
        "num_heads": heads,
        "mlp_dim": draw(st.integers(1, 40)),
        "skip_first_layer_pe": draw(flag),
    }
    kwargs["attention_downsample_rate"] = rate
    rows, tokens, pixels = draw(batch), draw(st.integers(2, 7)), draw(st.integers(2, 30))
    few, many = [rows, tokens, dim], [rows, pixels, dim]
    inputs = {"queries": few, "keys": many, "query_pe": few, "key_pe": many}
    return fuzz.drawn("SAM2TwoWayAttentionBlock", kwargs, inputs)


@st.composite
def _cx_block(draw: Any, of: str) -> Case:
    reach = draw(st.integers(0, 3))
    kwargs = {
        "dim": draw(st.integers(2, 12)),
        "kernel_size": 2 * reach + 1,
        "padding": reach,
        "layer_scale_init_value": draw(st.sampled_from([1e-6, 1.0])),
    }
    return fuzz.drawn("CXBlock", kwargs, {"x": [draw(batch), kwargs["dim"], draw(side), draw(side)]})


@WITHOUT_TRANSFORMERS
def test_multi_scale_block(client: Client, data: st.DataObject) -> None:
    _holds(client, data.draw(_multi_scale_block(client.reference.name)))


@WITHOUT_TRANSFORMERS
def test_block(client: Client, data: st.DataObject) -> None:
    _holds(client, data.draw(_block(client.reference.name)))


@ALL
def test_windows(client: Client, data: st.DataObject) -> None:
    _holds(client, data.draw(_windows(client.reference.name)))


@WITHOUT_TIMM
def test_rope_attention(client: Client, data: st.DataObject) -> None:
    _holds(client, data.draw(_rope(client.reference.name)))


@META_AND_ULTRALYTICS
def test_mask_down_sampler(client: Client, data: st.DataObject) -> None:
    _holds(client, data.draw(_down_sampler(client.reference.name)))


@WITHOUT_TIMM
def test_prompt_encoder(client: Client, data: st.DataObject) -> None:
    _holds(client, data.draw(_prompts(client.reference.name)))


@WITHOUT_TRANSFORMERS
def test_patch_embed(client: Client, data: st.DataObject) -> None:
    _holds(client, data.draw(_patch_embed(client.reference.name)))


@WITHOUT_TRANSFORMERS
def test_layer_norm_2d(client: Client, data: st.DataObject) -> None:
    _holds(client, data.draw(_layer_norm_2d(client.reference.name)))


@WITHOUT_TRANSFORMERS
def test_perceptron(client: Client, data: st.DataObject) -> None:
    _holds(client, data.draw(_perceptron(client.reference.name)))


@WITHOUT_TIMM
def test_two_way_block(client: Client, data: st.DataObject) -> None:
    _holds(client, data.draw(_two_way(client.reference.name)))


@WITHOUT_TIMM
def test_cx_block(client: Client, data: st.DataObject) -> None:
    _holds(client, data.draw(_cx_block(client.reference.name)))


def test_a_drawn_case_is_made_again_from_its_id() -> None:
    case = fuzz.drawn("MultiScaleBlock", {"dim": 4, "q_stride": [2, 2]}, {"x": [1, 2, 3, 4]})
    again = find(case.id)
    assert again.id == case.id
    assert again.kwargs == {"dim": 4, "q_stride": (2, 2)}
    assert (again.tensors()["x"] == case.tensors()["x"]).all()
