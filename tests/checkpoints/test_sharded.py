"""A model whose weights are spread over two processes: each reads its part, and what is saved is the file again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import samblocks
from samblocks.checkpoints.sharded import spread
from samblocks.models import PromptEncoder

RANKS = Path(__file__).with_name("sharded_ranks.py")


@pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this build of torch has no torch.distributed"
)
@pytest.mark.parametrize(("variant", "layout"), [("mobile_sam", "ultralytics")])
def test_two_processes_hold_a_model_together(tmp_path: Path, variant: str, layout: str) -> None:
    torch.manual_seed(0)
    samblocks.save(samblocks.build(variant), tmp_path / "model.safetensors")
    whole = samblocks.load(tmp_path / "model.safetensors", image_size=128)
    picture = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        found = whole.image_encoder(picture)
    torch.save(found["vision_features"] if isinstance(found, dict) else found, tmp_path / "features.pt")
    torch.save(picture, tmp_path / "picture.pt")
    environment = os.environ | {"PYTHONPATH": str(RANKS.parents[2]), "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", str(RANKS), str(rank), str(tmp_path), layout],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(2)
    ]
    ended = [rank.communicate(timeout=300) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], ended[0][1][-3000:] + ended[1][1][-3000:]
    told = [json.loads(out.splitlines()[-1]) for out, _ in ended]
    for one in told:
        assert one["spread"] > 0.5 * one["all"]
        assert one["held"] < 4.1 * one["here"]  # in bytes: nothing is kept but the part, and what pads it
        assert one["here"] < 0.52 * one["spread"]
        assert one["rise"] < 4 * one["here"] + (
            24 << 20
        )  # in bytes, with 14 MB for modules and tables of names
        assert not one["runs"] or (one["equal"] and one["gradients"] > 0.9)
        assert one["dcp"]
    assert sum(one["here"] for one in told) == told[0]["spread"]
    before = whole.state_dict()
    for name in ("again.pt", "again.safetensors"):
        after = samblocks.load(tmp_path / name, image_size=128).state_dict()
        assert all(torch.equal(before[key], after[key]) for key in before)


def test_what_cannot_be_spread_is_refused() -> None:
    with pytest.raises(ValueError, match="PromptEncoder has none of image_encoder"):
        spread(PromptEncoder(16, (4, 4), (64, 64), 16), None)  # type: ignore[arg-type]
