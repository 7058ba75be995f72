"""`inspect` and `convert` on small files, real ones."""

import json

import pytest
import torch

from samblocks import checkpoints
from samblocks.checkpoints import Conversion
from samblocks.cli import main
from samblocks.layouts import expected
from samblocks.variants import VARIANTS


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    """A mask decoder of SAM, alone, in half precision."""
    path = tmp_path_factory.mktemp("decoder") / "decoder.pt"
    shapes = expected("meta", VARIANTS["sam_vit_b"])
    torch.save(
        {
            name: torch.full(info.shape, 0.5, dtype=torch.float16)
            for name, info in shapes.items()
            if name.startswith("mask_decoder.")
        },
        path,
    )
    return str(path)


def test_inspect_for_people_and_for_programs(decoder, capsys):
    assert main(["inspect", decoder]) == 0
    text = capsys.readouterr().out
    assert text.startswith(decoder)
    assert "mask_decoder" in text
    assert main(["inspect", decoder, "--json", "--sha256"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["layout"] == "meta"
    assert report["complete"]
    assert len(report["sha256"]) == 64


def test_inspect_of_a_file_that_does_not_fit_ends_with_1(tmp_path, capsys):
    path = tmp_path / "part.pt"
    torch.save({"no_mem_embed": torch.ones(1, 1, 256), "no_mem_pos_enc": torch.ones(1, 1, 255)}, path)
    assert main(["inspect", str(path)]) == 1
    assert "no_mem_pos_enc" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, b"", b"<html>Please log in</html>", b"PK\x03\x04 nothing more"])
def test_inspect_of_what_is_no_checkpoint_is_one_sentence(tmp_path, capsys, content):
    path = tmp_path / "file.pt"
    if content is not None:
        path.write_bytes(content)
    assert main(["inspect", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("samblocks: ")
    assert err.count("\n") == 1
    assert "file.pt" in err


def test_convert_writes_and_says_so(tmp_path, capsys):
    source, target = str(tmp_path / "in.pt"), str(tmp_path / "out.safetensors")
    shapes = expected("meta", VARIANTS["mobile_sam"])
    torch.save(
        {
            name: torch.zeros(info.shape, dtype=torch.int64 if info.dtype == "I64" else torch.float16)
            for name, info in shapes.items()
        },
        source,
    )
    assert main(["convert", source, target, "--to", "ultralytics", "--dtype", "bfloat16"]) == 0
    same = "every tensor has the same name in both layouts: the file is meta's as well"
    assert capsys.readouterr().out == f"{target}: mobile_sam, meta -> ultralytics, 439 tensors\n{same}\n"
    assert main(["inspect", target, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["variant"] == "mobile_sam"
    assert report["dtypes"] == {"BF16": 412, "I64": 27}


def test_convert_passes_everything_on(monkeypatch, capsys):
    seen = []

    def convert_file(*args, **options):
        seen.append((args, options))
        return Conversion(
            source="meta",
            target="transformers",
            variant="sam2_hiera_tiny",
            model_class="Sam2Model",
            tensors=1234,
            nbytes=5,
            dropped=(("memory_attention.norm.weight", "no place"),),
            invented=(("no_mem_pos_enc", "zeros"),),
            from_base=("no_obj_ptr",),
        )

    monkeypatch.setattr(checkpoints, "convert_file", convert_file, raising=False)
    options = [
        "--dtype",
        "float16",
        "--class",
        "Sam2Model",
        "--drop",
        "--base",
        "b.pt",
        "--envelope",
        "ema",
        "--overwrite",
    ]
    assert main(["convert", "a.pt", "c.pt", "--to", "transformers", *options]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "c.pt: sam2_hiera_tiny, meta -> transformers (Sam2Model), 1,234 tensors",
        "dropped   memory_attention.norm.weight  [no place]",
        "invented  no_mem_pos_enc  [zeros]",
        "from base no_obj_ptr",
    ]
    expected_options = {"to": "transformers", "dtype": torch.float16, "model_class": "Sam2Model"}
    more = {"drop": True, "base": "b.pt", "envelope": "ema", "overwrite": True}
    assert seen == [(("a.pt", "c.pt"), expected_options | more)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.pt", "out.pt", "--to", "meta"], "none.pt"),
        (["none.pt", "out.onnx", "--to", "meta"], "out.onnx"),
        (["none.pt", "out.pt", "--to", "keras"], "invalid choice: 'keras'"),
    ],
)
def test_convert_that_fails_is_one_sentence(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert main(["convert", *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())
