"""Embeddings and masks of data sets: each kind of source, what files are bound to, stops, kills, and Ray."""

import io
import json
import os
import random
import subprocess
import sys
import tarfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import sam, sam2

from parity.execution import fill
from samblocks.cli import main
from samblocks.predict import EmbeddingFiles, ImagePredictor, MaskGenerator, loading
from samblocks.predict.dataset import embed as embedding
from samblocks.predict.dataset.embed import embed
from samblocks.predict.dataset.everything import segment_everything
from samblocks.predict.dataset.sources import open_source
from samblocks.predict.rle import decode

KILLED = Path(__file__).with_name("killed_runs.py")


def picture(number: int) -> np.ndarray:
    return fill.integers(f"picture {number}", (30 + number, 40, 3), 0, 256).astype(np.uint8)


def png(number: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture(number)).save(stream, "png")
    return stream.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Seven pictures, one of them deeper down, one an array."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for number in range(5):
        (folder / f"{number}.png").write_bytes(png(number))
    (folder / "deep" / "5.PNG").write_bytes(png(5))
    np.save(folder / "6.npy", picture(6))
    (folder / "notes.txt").write_text("no picture")
    return folder


def keys_in(folder: Path) -> Counter[str]:
    """How often each key stands in the shards themselves."""
    from safetensors import safe_open

    found: Counter[str] = Counter()
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            found.update(json.loads(opened.metadata()["embedding"])["keys"])
    return found


@pytest.mark.parametrize("make", [sam, sam2], ids=["sam", "sam2"])
def test_an_embedding_stands_for_its_picture(photos: Path, tmp_path: Path, make) -> None:
    model, told = make(), []
    done = embed(
        model,
        open_source(photos),
        tmp_path / "out",
        batch=2,
        shard=4,
        progress=lambda *step: told.append(step),
    )
    assert (done.before, done.now, done.unread) == (0, 7, {})
    assert told == [(2, 7), (4, 7), (6, 7), (7, 7)]
    files = EmbeddingFiles(tmp_path / "out")
    assert sorted(files) == sorted([*(f"{n}.png" for n in range(5)), "deep/5.PNG", "6.npy"])
    assert set(keys_in(tmp_path / "out").values()) == {1}
    assert sorted(json.loads((tmp_path / "out/index.json").read_text())["shards"]) == [
        f"embeddings-{number:08d}.safetensors" for number in range(2)
    ]
    by_picture, by_embedding = ImagePredictor(model), ImagePredictor(model)
    for key, number in (("3.png", 3), ("deep/5.PNG", 5), ("6.npy", 6)):
        by_picture.set_image(picture(number))
        by_embedding.set_embedding(files[key], image=picture(number))
        for one in (by_picture, by_embedding):
            assert one.original_size == (30 + number, 40)
        expected = by_picture.predict([[10, 12]], [1], return_logits=True)
        found = by_embedding.predict([[10, 12]], [1], return_logits=True)
        assert all(np.allclose(a, b, atol=1e-4) for a, b in zip(expected, found, strict=True))
    with pytest.raises(ValueError, match="of another picture"):
        by_embedding.set_embedding(files["3.png"], image=picture(4))
    # A shard is an embedding of several pictures itself.
    by_embedding.set_embedding(tmp_path / "out/embeddings-00000001.safetensors")
    assert len(by_embedding.predict_batch([[[10, 12]]] * 3, [[1]] * 3)[0]) == 3


def test_what_does_not_belong_is_refused(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, model, source = tmp_path / "out", sam(), open_source(photos)
    embed(model, source, out)
    other = sam()
    next(other.image_encoder.parameters()).data[0] += 1
    with pytest.raises(ValueError, match="comes from other weights"):
        ImagePredictor(other).set_embedding(EmbeddingFiles(out)["3.png"])
    with pytest.raises(ValueError, match="embeddings of other weights"):
        embed(other, source, out)
    prepared = sam()
    prepared.pixel_mean += 1  # no weight, but pictures look otherwise
    with pytest.raises(ValueError, match="prepared in another way"):
        ImagePredictor(prepared).set_embedding(EmbeddingFiles(out)["3.png"])
    with pytest.raises(ValueError, match="prepared in another way"):
        embed(prepared, source, out)
    (shard,) = out.glob("*.safetensors")
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    (out / "index.json").unlink()
    with pytest.raises(ValueError, match="is damaged: delete it"):
        EmbeddingFiles(out)
    with pytest.raises(ValueError, match="holds no embeddings"):
        EmbeddingFiles(photos)


def test_every_kind_of_source(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("photos/0.png\n\nphotos/6.npy\nphotos/0.png\n")
    for name, numbers in (("a-0.tar", (0, 1)), ("a-1.tar", (2,))):
        with tarfile.open(tmp_path / name, "w") as tar:
            for number in numbers:
                for suffix, data in (("png", png(number)), ("json", b"{}")):
                    member = tarfile.TarInfo(f"{number}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    expected = {
        tmp_path / "list.txt": {"photos/0.png": 0, "photos/6.npy": 6},
        tmp_path / "a-{0..1}.tar": {"a-0.tar/0.png": 0, "a-0.tar/1.png": 1, "a-1.tar/2.png": 2},
    }
    for place, keys in expected.items():
        source = open_source(place)
        assert [item.key for item in source.items] == list(keys)
        for item in reversed(source.items):
            assert np.array_equal(source.read(item), picture(keys[item.key]))


def test_parquet_as_others_write_it(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    for name, column in (
        ("plain", [png(n) for n in range(3)]),
        ("nested", [{"bytes": png(n), "path": f"{n}.png"} for n in range(3)]),
    ):
        table = arrow.table({"id": [7, 8, 9], "image": column, "text": ["a", "b", "c"]})
        parquet.write_table(table, tmp_path / f"{name}.parquet", row_group_size=2)
        source = open_source(tmp_path / f"{name}.parquet", key="id")
        assert [item.key for item in source.items] == ["7", "8", "9"]
        assert [np.array_equal(source.read(item), picture(n)) for n, item in enumerate(source.items)] == [
            True
        ] * 3
        assert open_source(tmp_path / f"{name}.parquet").items[2].key == f"{name}.parquet#2"
    with pytest.raises(ValueError, match="has no column nothing; it has id, image, text"):
        open_source(tmp_path / "plain.parquet", key="nothing")
    parquet.write_table(arrow.table({"a": [b""], "b": [b""]}), tmp_path / "two.parquet")
    with pytest.raises(ValueError, match="2 columns that may be pictures"):
        open_source(tmp_path / "two.parquet")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "there is nothing at"),
        ("empty", "holds no picture"),
        ("a.tar", "no tar that can be read"),
        ("a.zip", "is no data set that is read"),
        ("{same,same}.txt", "two pictures of .* are called a"),
    ],
)
def test_sources_that_are_none(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    for file in ("a.tar", "a.zip"):
        (tmp_path / file).write_bytes(b"x" * 2000)
    (tmp_path / "same.txt").write_text("a\n")
    with pytest.raises(ValueError, match=message):
        open_source(tmp_path / name)


def test_what_cannot_be_read_is_named_and_tried_again(
    photos: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(loading, "load", lambda *names, **options: sam())
    (photos / "2.png").write_bytes(png(2)[:70])
    command = ["embed", str(photos), "--model", "m", "--shard", "3", "-o", str(tmp_path / "out")]
    assert main(command) == 1
    assert "1 picture could not be read" in capsys.readouterr().err
    assert list(json.loads((tmp_path / "out/unread.json").read_text())) == ["2.png"]
    (photos / "2.png").write_bytes(png(2))
    assert main(command) == 0
    assert "1 picture, 6 were there before" in capsys.readouterr().out
    assert not (tmp_path / "out/unread.json").exists()
    assert len(EmbeddingFiles(tmp_path / "out")) == 7
    assert main([*command, "--column", "x"]) == 2
    assert "columns are for parquet" in capsys.readouterr().err


def test_all_masks_of_a_data_set(photos: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    out, model, source = tmp_path / "out", sam(), open_source(photos)
    make = partial(MaskGenerator, model, 3, pred_iou_thresh=0, stability_score_thresh=0)
    done = segment_everything(make(output_mode="coco_rle"), source, out, rows=3)
    assert (done.now, sorted(path.name for path in out.glob("[!.]*"))) == (
        7,
        [f"masks-{number:08d}.parquet" for number in range(3)],
    )
    rows = [row for file in sorted(out.glob("*.parquet")) for row in parquet.read_table(file).to_pylist()]
    assert [row["key"] for row in rows] == [item.key for item in source.items]
    for row in rows[:2]:
        expected = make().generate(picture(int(row["key"][0])))
        assert len(expected) == len(row["masks"]) > 0
        for record, found in zip(expected, row["masks"], strict=True):
            assert np.array_equal(decode(found["segmentation"]), record["segmentation"])
            assert found["area"] == record["area"]
    again = segment_everything(make(output_mode="coco_rle"), source, out)
    assert (again.before, again.now) == (7, 0)
    with pytest.raises(ValueError, match="other settings"):
        segment_everything(make(output_mode="coco_rle", box_nms_thresh=0.5), source, out)
    with pytest.raises(ValueError, match="'coco_rle'"):
        segment_everything(make(), source, out)


def test_two_processes_do_not_write_into_one_folder(photos: Path, tmp_path: Path) -> None:
    from samblocks.predict.dataset.embedding_files import alone_in

    with alone_in(tmp_path / "out"), pytest.raises(ValueError, match="another process writes"):
        embed(sam(), open_source(photos), tmp_path / "out")


def test_what_is_done_is_kept_when_it_is_stopped(photos: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(loading, "load", lambda *names, **options: sam())
    encode = embedding.Encoder.encode

    def stopped(self, pictures):
        if pictures[0][0].key == "3.png":
            raise KeyboardInterrupt
        return encode(self, pictures)

    monkeypatch.setattr(embedding.Encoder, "encode", stopped)
    command = ["embed", str(photos), "--model", "m", "--batch", "1", "-o", str(tmp_path / "out")]
    assert main(command) == 130
    assert "3 of 7 pictures are done and kept" in capsys.readouterr().err
    assert list(EmbeddingFiles(tmp_path / "out")) == ["0.png", "1.png", "2.png"]
    monkeypatch.setattr(embedding.Encoder, "encode", encode)
    assert main(command) == 0
    assert set(keys_in(tmp_path / "out").values()) == {1}
    assert len(EmbeddingFiles(tmp_path / "out")) == 7


@pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are forked off a process that has imported torch")
def test_killed_ten_times_it_loses_and_doubles_nothing(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(36):
        np.save(photos / f"{number:02}.npy", picture(number))
    seed = random.SystemRandom().randrange(10**6)
    done = subprocess.run(
        [sys.executable, str(KILLED), str(photos), str(tmp_path / "out"), str(seed)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(KILLED.parents[2]), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, (seed, done.stdout, done.stderr)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["kills"] == 10, seed
    assert 5 <= told["shards"][-1] < 36, told  # work was done, and work was left
    assert (told["interrupted"], told["terminated"]) == (130, 143), seed
    assert keys_in(tmp_path / "out") == Counter(f"{number:02}.npy" for number in range(36)), seed
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.endswith(".samblocks")]
    predictor, files = ImagePredictor(sam()), EmbeddingFiles(tmp_path / "out")
    for number in (0, 13, 35):
        predictor.set_image(picture(number))
        expected = predictor.get_image_embedding()
        assert torch.allclose(files[f"{number:02}.npy"].tensors["image_embed"], expected, atol=1e-5)


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*")  # of its own settings, as it reads them
def test_two_workers_of_which_one_is_killed(tmp_path: Path) -> None:
    import signal

    ray = pytest.importorskip("ray", reason="Ray is not installed")
    from samblocks.predict.dataset.on_ray import embed_on_ray

    photos, out = tmp_path / "photos", tmp_path / "out"
    processes: set[int] = set()
    killed: list[int] = []
    photos.mkdir()
    for number in range(60):
        np.save(photos / f"{number:02}.npy", picture(number % 20))

    def seen(row: dict) -> None:
        processes.add(row["process"])
        if not killed:
            killed.append(row["process"])
            os.kill(row["process"], signal.SIGKILL)

    roots = [str(Path(__file__).parent), str(KILLED.parents[2])]
    ray.init(num_cpus=2, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": ":".join(roots)}})
    try:
        done = embed_on_ray(sam, open_source(photos), out, workers=2, shard=2, seen=seen)
    finally:
        ray.shutdown()
    assert killed
    assert len(processes) >= 2
    assert (done.now, done.unread) == (60, {})
    assert keys_in(out) == Counter(f"{number:02}.npy" for number in range(60))
    assert len(EmbeddingFiles(out)) == 60


def test_the_commands_of_the_guide_are_understood() -> None:
    import argparse
    import re
    import shlex

    from samblocks.cli.commands import embed as command

    guide = (KILLED.parents[2] / "docs" / "data-sets.md").read_text(encoding="utf-8")
    lines = [
        line for block in re.findall(r"```sh\n(.*?)```", guide, re.DOTALL) for line in block.splitlines()
    ]
    assert len(lines) == 5
    for line in lines:
        parser = argparse.ArgumentParser()
        command.add(parser)
        assert parser.parse_args(shlex.split(line)[2:]).output


def test_the_lines_of_the_guide_give_a_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import re

    monkeypatch.setattr(loading, "load", lambda *names, **options: sam2())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    Image.fromarray(fill.integers("truck", (400, 600, 3), 0, 256).astype(np.uint8)).save("photos/truck.png")
    os.rename("photos/truck.png", "photos/truck.jpg")
    assert main(["embed", "photos", "--model", "m", "-o", "embeddings"]) == 0
    guide = (KILLED.parents[2] / "docs" / "data-sets.md").read_text(encoding="utf-8")
    lines, _ = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)  # the other is for eight processes
    names: dict[str, Any] = {}
    exec(lines, names)
    assert np.shape(names["masks"]) == (3, 400, 600)
