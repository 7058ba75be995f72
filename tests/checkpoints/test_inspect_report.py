"""The report on a file: every tensor and every byte accounted for, in every layout and wrapping."""

import hashlib
import json
import time

import pytest
import torch
from synthetic import half, saved, sparse, weightless

from samblocks.checkpoints import inspect, published
from samblocks.checkpoints.report import STATUSES
from samblocks.checkpoints.tensor_source import TensorSource
from samblocks.checkpoints.writing.write import write
from samblocks.errors import CheckpointError
from samblocks.layouts import LAYOUTS, TensorInfo, classes_of, expected, meta_tensors, variants_of
from samblocks.models import VARIANTS

TINY_20, TINY_21 = "sam2_hiera_tiny", "sam2.1_hiera_tiny"
FILES = [
    (layout, variant, model_class)
    for layout in LAYOUTS
    for variant in ("mobile_sam", "sam_vit_b", TINY_20, TINY_21, "sam2.1_hiera_large")
    if VARIANTS[variant] in variants_of(layout)
    for model_class in classes_of(layout, VARIANTS[variant])
]


@pytest.mark.parametrize(("layout", "variant", "model_class"), FILES)
def test_every_layout_is_explained_to_the_byte(tmp_path, layout, variant, model_class):
    tensors = expected(layout, VARIANTS[variant], model_class)
    path = sparse(tmp_path / "a.safetensors", tensors)
    report = inspect(path)
    assert report.complete
    assert variant in report.candidates
    assert report.layout == ("meta" if layout == "ultralytics" else layout)
    assert report.model_class == (model_class if layout == "transformers" else None)
    assert sorted(row.name for row in report.rows) == sorted(tensors)
    assert all(row.status in STATUSES for row in report.rows)
    assert sum(count for count, _ in report.totals.values()) == len(tensors)
    assert sum(nbytes for _, nbytes in report.totals.values()) == report.tensor_bytes == report.stored_bytes
    with path.open("rb") as stream:
        header = int.from_bytes(stream.read(8), "little") + 8
    assert report.tensor_bytes == path.stat().st_size - header
    assert set(report.dtypes) <= {"F32", "I64", "U8"}
    assert not report.unexplained
    assert json.loads(report.to_json())["complete"] is True
    assert str(path) in str(report)


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_are_those_of_the_model(tmp_path, variant):
    from samblocks.models.skeleton import skeleton

    path = sparse(tmp_path / "a.safetensors", meta_tensors(VARIANTS[variant]))
    report = inspect(path)
    assert report.parameters == sum(parameter.numel() for parameter in skeleton(variant).parameters())
    assert report.candidates == (variant,)
    assert report.totals["used"] == (len(report.rows), report.tensor_bytes)


def test_each_status_is_told_with_its_reason(tmp_path):
    report = inspect(sparse(tmp_path / "a.safetensors", expected("muggled", VARIANTS[TINY_20])))
    rows = {row.name: row for row in report.rows}
    assert rows["config_muggled_samv2"].status == "dropped"
    assert rows["config_muggled_samv2"].why
    norm = rows["memory_encoder.channel_mixer.0.norm.weight"]
    assert (norm.status, norm.targets) == ("converted", ("memory_encoder.fuser.layers.0.norm.weight",))
    assert norm.op == "1 c 1 1 -> c"
    assert [gap.name for gap in report.invented] == ["no_mem_pos_enc"]
    assert report.invented[0].why
    report = inspect(sparse(tmp_path / "b.safetensors", expected("transformers", VARIANTS[TINY_21])))
    rows = {row.name: row for row in report.rows}
    packed = rows["prompt_encoder.point_embed.weight"]
    assert packed.status == "packed"
    assert packed.targets == tuple(f"sam_prompt_encoder.point_embeddings.{i}.weight" for i in range(4))
    renamed = rows["no_memory_embedding"]
    assert (renamed.status, renamed.targets, renamed.op) == ("renamed", ("no_mem_embed",), "")


def test_half_precision_is_converted(tmp_path):
    report = inspect(sparse(tmp_path / "a.safetensors", half(meta_tensors(VARIANTS[TINY_21]))))
    assert report.dtypes == {"F16": 471}
    assert report.totals["converted"][0] == 471
    assert {row.op for row in report.rows} == {"F16 -> F32"}


def test_what_does_not_fit_is_told(tmp_path):
    tensors = dict(meta_tensors(VARIANTS[TINY_21]))
    del tensors["no_mem_embed"]
    tensors["extra.weight"] = TensorInfo((3, 4), "F32")
    tensors["no_obj_ptr"] = TensorInfo((1, 255), "F32")
    report = inspect(sparse(tmp_path / "a.safetensors", tensors))
    assert not report.complete
    assert report.candidates == (TINY_21,)
    assert {row.name for row in report.unexplained} == {"extra.weight", "no_obj_ptr"}
    assert [gap.name for gap in report.missing] == ["no_mem_embed"]
    assert [(gap.name, gap.found, gap.shape) for gap in report.misshapen] == [
        ("no_obj_ptr", (1, 255), (1, 256))
    ]
    text = str(report)
    for words in ("extra.weight (3x4)", "no_mem_embed (1x1x256)", "no_obj_ptr (1x255, needed 1x256)"):
        assert words in text


def test_shared_bytes_count_once(tmp_path):
    names = (
        "shared_image_embedding.positional_embedding",
        "prompt_encoder.shared_embedding.positional_embedding",
    )
    matrix = torch.ones(2, 128)
    state = {
        name: torch.zeros(info.shape)
        for name, info in expected("transformers", VARIANTS[TINY_21]).items()
        if "prompt" in name
    }
    state |= dict.fromkeys(names, matrix)
    (tmp_path / "a.pt").write_bytes(saved(state))
    report = inspect(tmp_path / "a.pt")
    assert report.tensor_bytes - report.stored_bytes == matrix.nbytes
    assert report.complete


def test_facts_say_where_they_are_from(tmp_path):
    path = sparse(tmp_path / "a.safetensors", meta_tensors(VARIANTS["sam_vit_b"], image_size=512))
    facts = {fact.name: fact for fact in inspect(path).facts}
    assert facts["trunk.num_heads"].value == 12
    assert facts["trunk.num_heads"].origin == "what sam_vit_b was released with"
    assert (facts["image_size"].value, facts["image_size"].origin) == (
        512,
        "the shapes of the file's tensors",
    )
    trunk = inspect(sparse(tmp_path / "b.safetensors", expected("timm", VARIANTS[TINY_21])))
    facts = {fact.name: fact for fact in trunk.facts}
    assert f"the tensors fit {TINY_20}, {TINY_21} too" in facts["tracking.add_tpos_enc_to_obj_ptrs"].origin
    assert facts["trunk.global_att_blocks"].origin == f"what {TINY_20} was released with"
    assert "fit each of" in str(trunk)


def test_the_lock_knows_a_file_by_size_and_by_hash(tmp_path):
    known = {entry.name: entry for entry in published.read_lock().entries}[
        "facebook/sam2.1-hiera-tiny/model.safetensors"
    ]
    path = sparse(tmp_path / "a.safetensors", expected("transformers", VARIANTS[TINY_21]))
    assert path.stat().st_size == known.bytes
    report = inspect(path)
    assert report.locked_as == (known.name,)
    assert report.locked_by == "size and tensors"
    small = tmp_path / "small.pt"
    small.write_bytes(saved({"no_mem_embed": torch.ones(1, 1, 256)}))
    report = inspect(small, sha256=True)
    assert report.sha256 == hashlib.sha256(small.read_bytes()).hexdigest()
    assert report.locked_as == ()
    assert "not among the locked files" in str(report)


def test_the_lock_knows_a_file_by_its_hash(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    path.write_bytes(saved({"no_mem_embed": torch.ones(1, 1, 256)}))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = published.read_lock().entries[0]
    monkeypatch.setattr(published, "by_sha256", lambda given: (entry,) if given == digest else ())
    report = inspect(path, sha256=True)
    assert (report.locked_as, report.locked_by) == ((entry.name,), "sha256")


def test_the_largest_file_takes_less_than_a_second(tmp_path):
    path = sparse(tmp_path / "a.safetensors", meta_tensors(VARIANTS["sam_vit_h"]))
    assert path.stat().st_size > 2_560_000_000
    inspect(path)
    start = time.process_time()
    inspect(path)
    assert time.process_time() - start < 1


def test_groups_make_a_long_report_short(tmp_path):
    text = str(
        inspect(sparse(tmp_path / "a.safetensors", expected("transformers", VARIANTS["sam2.1_hiera_large"])))
    )
    assert len(text.splitlines()) < 220
    assert (
        "vision_encoder.backbone.blocks.{}.layer_norm{}.weight -> image_encoder.trunk.blocks.{}.norm{}.weight"
        in text
    )
    assert max(map(len, text.splitlines())) < 320


def test_a_file_of_nothing_known(tmp_path):
    path = tmp_path / "a.pt"
    write(
        path,
        TensorSource({"a": TensorInfo((2,), "F32")}, weightless({"a": TensorInfo((2,), "F32")}).__getitem__),
    )
    with pytest.raises(CheckpointError, match="holds no model that is known here"):
        inspect(path)
