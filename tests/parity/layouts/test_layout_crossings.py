"""The proof of layouts finds what it must find: it is tried on a conversion that goes wrong."""

import json

import pytest
import torch

from parity.__main__ import main
from parity.layouts import routes, row
from parity.layouts.published import published_size
from parity.layouts.row import Row
from parity.verdict.compare import Verdict
from samblocks.checkpoints import convert


def test_one_variant_there_and_back(tmp_path, capsys):
    assert main(["layouts", "--variant", "mobile_sam", "--json", str(tmp_path / "out.json")]) == 0
    printed = capsys.readouterr().out
    assert "4 crossings: 4 EXACT" in printed
    assert "439 of 439 tensors, bit for bit" in printed
    found = json.loads((tmp_path / "out.json").read_text())
    assert [crossing["verdict"] for crossing in found["crossings"]] == ["EXACT"] * 4
    assert found["environment"]["torch"] == torch.__version__


@pytest.fixture
def mobile(tmp_path):
    return lambda: list(routes.prove("mobile_sam", tmp_path))


def test_a_changed_tensor_is_seen(mobile, monkeypatch):
    right = convert

    def wrong(state, to, **options):
        done = right(state, to, **options)
        done["mask_decoder.iou_token.weight"] = done["mask_decoder.iou_token.weight"] + 1e-6
        return done

    monkeypatch.setattr(routes, "convert", wrong)
    rows = mobile()
    assert [found.verdict for found in rows] == [Verdict.EXACT, Verdict.DIVERGED] * 2
    assert rows[1].seen == "1 tensor changed, such as mask_decoder.iou_token.weight"
    assert row.status(rows) == 1


def test_a_wrong_size_is_seen(mobile, monkeypatch, tmp_path):
    monkeypatch.setattr(routes, "published_size", lambda layout, variant: 5)
    assert [found.seen for found in mobile() if found.verdict is Verdict.DIVERGED] == [
        "not the published size"
    ]
    assert list(tmp_path.iterdir()) == []


def test_what_a_layout_has_no_place_for_must_come_from_the_base(tmp_path, monkeypatch):
    """Nothing of the first file may reach the last by another way than through the layout."""
    own = routes.Filled("mobile_sam")
    own.write(tmp_path / "all.pt")
    routes._write_zeros(tmp_path / "zeros.safetensors", own.tensors)
    monkeypatch.setattr(routes, "_held", lambda *given: {"mask_decoder.iou_token.weight"})
    wrong, seen = routes._came_back(own, tmp_path / "all.pt", tmp_path / "zeros.safetensors", "meta", None)
    assert "tensors came from nowhere" in wrong[0]
    assert seen == "1 of 439 tensors, bit for bit"


def test_published_sizes():
    assert published_size("meta", "sam2.1_hiera_tiny") == 155906872
    assert published_size("transformers", "sam2.1_hiera_tiny") == 155908064
    assert published_size("transformers", "sam2_hiera_large") == 897831024
    assert published_size("transformers", "sam_vit_b") is None
    assert published_size("muggled", "sam_vit_b") is None


def test_the_table_and_the_status():
    rows = [
        Row("sam_vit_b", "meta .pt", "timm", 177, 1234, 1234, Verdict.EXACT, "seen"),
        Row("sam_vit_b", "timm", "meta", 0, 0, None, Verdict.NOT_RUN, "no references"),
    ]
    lines = list(row.text(rows))
    assert lines[1].split() == ["sam_vit_b", "meta", ".pt", "timm", "177", "1,234", "1,234", "EXACT", "seen"]
    assert lines[-1].startswith("2 crossings: 1 EXACT, 1 NOT RUN; 1 of 1 files")
    assert row.status(rows) == 0
    assert row.status(rows[1:]) == 3


def test_usage(capsys):
    assert main(["layouts", "--variant", "sam9"]) == 2
    assert "no variant is called 'sam9'" in capsys.readouterr().err
