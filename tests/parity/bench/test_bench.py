"""The bench's arithmetic, tables and manners; the figures themselves are nobody's business here."""

import ast
import subprocess
import sys

import pytest
import torch
from torch import nn

from parity.__main__ import main
from parity.bench import load, works, yardstick
from parity.bench.contestants import CONTESTANTS, OURS, PEERS, Contestant, chosen
from parity.bench.load import Loading
from parity.bench.rows import FORWARD, ROWS, find, select
from parity.bench.serve import as_given, case_of, filled, sampled
from parity.errors import UsageError
from parity.execution import fill
from parity.execution.execute import prepare
from parity.run import samblocks_library

FAST = Loading(2 * 10**9, 20.0, 2.0, 10.0, 2.0, 1.02, 0.01, 6.0, 1.01, 3.5, 0.5)


def test_a_goal_that_is_missed_is_named():
    assert FAST.missed == []
    slow = Loading(2 * 10**9, 20.0, 4.0, 5.0, 2.0, 1.2, 0.01, 6.0, 1.01, 1.5, 1.5)
    assert slow.missed == ["speed", "memory", "inspect"]
    greedy = Loading(2 * 10**9, 20.0, 2.0, 10.0, 2.0, 1.02, 0.01, 6.0, 1.3, 0.5, 0.5)
    assert greedy.missed == ["memory"]


def test_every_page_of_every_parameter_is_read():
    layer = nn.Linear(load.PAGE, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(3.0)[:, None].expand(3, load.PAGE))
        layer.bias.fill_(10.0)
    assert load.touch(layer.parameters()) == 0 + 1 + 2 + 10


def test_memory_of_a_call_is_that_beyond_what_was_there():
    # In a fresh process, as it is meant: in one that has run much, what is freed may be taken again.
    code = "import torch; from parity.bench.memory import measured; print(measured(lambda: torch.ones(16 * 2**20)))"
    found = ast.literal_eval(
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout
    )
    assert 60 * 2**20 < found["peak"] < 200 * 2**20
    assert found["seconds"] > 0


def test_rows_have_names_of_their_own_and_groups_choose_them():
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert {row.group for row in ROWS} == set(FORWARD)
    assert [row.name for row in select(["video", "vit-h"])] == ["vit-h", "video-1", "video-4", "video-16"]
    assert select(["load"]) == []
    assert select(["forward"]) == select([]) == list(ROWS)
    with pytest.raises(UsageError, match="--only vit-q: there are the groups forward, encoder"):
        select(["vit-q"])


def test_the_rows_that_were_promised_are_there():
    names = {row.name for row in ROWS}
    assert {"vit-b", "vit-h", "hiera-t", "hiera-l", "tiny-vit", "memory-encoder"} <= names
    assert {f"{one}-decoder-{count}" for one in ("sam", "sam2") for count in (1, 16, 64, 256)} <= names
    assert {f"memory-attention-{count}" for count in (1, 3, 7)} | {f"video-{n}" for n in (1, 4, 16)} <= names
    axes = {axis for row in ROWS for axis, _ in row.curves}
    assert axes == {"image side", "batch", "prompts", "memories", "objects"}


def test_ours_runs_in_every_precision_that_a_peer_has():
    assert [one.name for one in chosen(["meta"])] == ["samblocks", "meta"]
    assert [one.name for one in chosen(["openvino"])] == [
        "samblocks",
        "samblocks bfloat16",
        "meta openvino",
        "meta openvino bfloat16",
        "samblocks openvino",
        "samblocks openvino bfloat16",
    ]
    assert set(PEERS) == {one.peer for one in CONTESTANTS} - {OURS}


def test_what_cannot_run_says_why(monkeypatch):
    video, encoder = find("video-1"), find("vit-b")
    openvino = Contestant("openvino", "meta", "openvino")
    assert "no one graph" in openvino.refuses(video, "cpu")
    assert openvino.refuses(encoder, "cpu") == ""
    assert openvino.refuses(encoder, "cuda") == "it is a peer on the processor, not on cuda"
    compiled = Contestant("compile", "meta", "compile")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert compiled.refuses(encoder, "cpu") == "needs a C++ compiler, such as Debian's package g++"
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert compiled.refuses(encoder, "cpu") == ""


def test_inputs_follow_from_their_names_and_places_keep_their_digits():
    first, second = (works.clicks(128, 3, levels=True) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["embedding"].shape == (1, 256, 8, 8)
    assert (first["points"] > 0).all()
    assert (first["points"] < 128).all()
    low = as_given(first, torch.bfloat16, torch.device("cpu"))
    assert {name: value.dtype for name, value in low.items()} == {
        "embedding": torch.bfloat16,
        "points": torch.float32,
        "labels": torch.int32,
        "fine": torch.bfloat16,
        "middle": torch.bfloat16,
    }


def test_samples_are_of_every_output_and_small():
    found = sampled({"masks": torch.arange(200000.0), "rest": [torch.ones(2, 3)]})
    assert [tuple(value.shape) for value in found.values()] == [(50000,), (6,)]
    assert found["0"][:3].tolist() == [0.0, 4.0, 8.0]


def test_graphs_give_the_same_twice_and_in_float64_almost():
    library, names = samblocks_library.library(), ("sam2-decoder-1", "memory-attention-1", "memory-encoder")
    results = {}
    with torch.no_grad():
        model = library.model("sam2.1_hiera_tiny", 128, {}).eval()
        for part in ("sam_prompt_encoder", "sam_mask_decoder", "memory_attention", "memory_encoder"):
            fill.fill_(model.get_submodule(part))
        for dtype in (torch.float32, torch.float64):
            model.to(dtype)
            for name in names:
                module = find(name).work.module(model).eval()
                given = as_given(find(name).work.inputs(128), dtype, torch.device("cpu"))
                results[name, dtype], again = (sampled(module(*given.values())) for _ in range(2))
                assert all(torch.equal(again[key], value) for key, value in results[name, dtype].items())
    for name in names:
        truth = results[name, torch.float64]
        for key, value in results[name, torch.float32].items():
            assert 0 < (value - truth[key]).norm() < 1e-4 * truth[key].norm()


def test_operations_are_counted_without_computing():
    """A memory that is three times as long: the keys' part of the attention is three times as much, the rest equal."""
    one, three = (yardstick.count(find(f"memory-attention-{count}"), 128) for count in (1, 3))
    grid, layers = (128 // 16) ** 2, 4
    # keys and values from 64 to 256 channels, and two products of attention, for 2 x 64 further tokens
    further = 2 * grid
    assert three - one == layers * 2 * further * (2 * 64 * 256 + 2 * grid * 256)
    assert yardstick.count(find("video-1"), 128) is None


def test_products_are_timed_by_each_library_that_has_a_kernel():
    ways = yardstick._products(torch.float32)
    assert ways
    results = [run() for run in ways.values()]
    assert all(result.numel() == 2048 * 3072 for result in results)
    flat = [result.reshape(3072, 2048).t() if result.dim() == 4 else result for result in results]
    assert all(torch.allclose(flat[0], other, atol=1e-2) for other in flat)


def test_a_model_is_filled_by_name_for_every_row():
    assert {case_of(row, 128).block for row in ROWS} == {"SAMModel", "SAM2Model"}
    row = find("tiny-vit")
    model = filled(samblocks_library.library(), row, 128, torch.float32)
    state = prepare(case_of(row, 128), samblocks_library.library())[1]
    assert [name for name, _ in state] == list(model.state_dict())
    assert not any(value.isnan().any() for value in model.state_dict().values() if value.is_floating_point())


def test_usage(capsys, tmp_path):
    assert main(["bench", "--rounds", "0"]) == 2
    assert "--rounds" in capsys.readouterr().err
    assert main(["bench", "--size", "100"]) == 2
    assert "--size must be a multiple of 64 and at least 128, got 100" in capsys.readouterr().err
    assert main(["bench", "--only", "nothing"]) == 2
    assert main(["bench", "--json", str(tmp_path / "no" / "file")]) == 2
    assert main(["bench", "--references", str(tmp_path), "--only", "load"]) == 3
    assert "make references" in capsys.readouterr().out
    assert main(["bench", "--list"]) == 0
    listed = capsys.readouterr().out
    assert all(row.name in listed for row in ROWS)
    assert "Meta in OpenVINO, bf16" in listed


def test_without_a_device_every_row_is_not_run(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["bench", "--device", "cuda", "--peer", "meta", "--only", "vit-b"]) == 3
    out = capsys.readouterr().out
    assert out.count(f"NOT RUN: no CUDA device: torch {torch.__version__} sees none on this machine") == 2
