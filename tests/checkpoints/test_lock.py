"""The list of public checkpoints: what it holds, what names mean, and what a list may not say."""

import gzip
import re
from pathlib import Path
from typing import Any

import pytest
from download_server import noise, write_lock

from samblocks.checkpoints import load
from samblocks.checkpoints.published import lock
from samblocks.errors import CheckpointError

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "tests" / "data" / "manifests"
META = [
    *(f"sam_vit_{size}" for size in "blh"),
    *(f"{v}_hiera_{size}" for v in ("sam2", "sam2.1") for size in ("tiny", "small", "base_plus", "large")),
]


@pytest.fixture(autouse=True)
def own_list(monkeypatch):
    monkeypatch.delenv("SAMBLOCKS_LOCK", raising=False)


def test_what_is_locked():
    names = {entry.name for entry in lock.entries()}
    assert len(names) == 31
    assert names >= {*META, "mobile_sam"}
    assert names >= {f"ultralytics/{v}_{size}.pt" for v in ("sam2", "sam2.1") for size in "tsbl"}
    for size in ("tiny", "small", "base_plus", "large"):
        repository = f"facebook/sam2.1-hiera-{size.replace('_', '-')}"
        assert names >= {f"{repository}/sam2.1_hiera_{size}.pt", f"{repository}/model.safetensors"}


def test_what_is_not_locked_says_what_is_missing():
    rows = lock.read_lock().unlocked
    assert len(rows) == 44
    assert all(row.missing for row in rows)
    assert {row.name for row in rows if "sha256" not in row.missing} == {
        "facebook/sam2-hiera-tiny/model.safetensors",
        "facebook/sam-vit-huge/model.safetensors",
        "timm/samvit_base_patch16.sa1b",
    }


def test_names_do_not_depend_on_the_case_of_letters_and_mean_one_thing():
    for entry in lock.entries():
        assert lock.find(entry.name) == entry
        assert lock.find(entry.name.upper()) == entry
        assert lock.find(entry.name, entry.source) == entry


@pytest.mark.parametrize(
    ("name", "source", "found"),
    [
        *((name, None, name) for name in META),
        ("sam_vit_b_01ec64.pth", None, "sam_vit_b"),
        ("sam_vit_h_4b8939", None, "sam_vit_h"),
        ("sam2.1_hiera_large.pt", None, "sam2.1_hiera_large"),
        ("sam2.1_hiera_large", "hub", "facebook/sam2.1-hiera-large/sam2.1_hiera_large.pt"),
        ("sam2.1_hiera_large", "transformers", "facebook/sam2.1-hiera-large/model.safetensors"),
        ("sam2.1_hiera_large", "ultralytics", "ultralytics/sam2.1_l.pt"),
        ("facebook/sam2.1-hiera-tiny", None, "facebook/sam2.1-hiera-tiny/sam2.1_hiera_tiny.pt"),
        ("facebook/sam2.1-hiera-tiny", "transformers", "facebook/sam2.1-hiera-tiny/model.safetensors"),
        ("sam2_t.pt", None, "ultralytics/sam2_t.pt"),
        ("sam2.1_b", None, "ultralytics/sam2.1_b.pt"),
        ("mobile_sam.pt", None, "mobile_sam"),
        ("mobile_sam.pt", "ultralytics", "ultralytics/mobile_sam.pt"),
    ],
)
def test_what_a_name_means(name, source, found):
    assert lock.find(name, source).name == found


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("sam2.1_hiera_tiney", None, "no checkpoint is called .*did you mean sam2.1_hiera_tiny"),
        ("zzzz", None, "no checkpoint is called 'zzzz'; see `samblocks list`"),
        ("sam_b.pt", None, "ultralytics/sam_b.pt is known but not locked, .* its bytes and sha256"),
        ("sam2_hiera_tiny", "transformers", "not locked, because nobody has confirmed its bytes"),
        ("Kijai/sam2-safetensors", None, "fits several files; name one of Kijai"),
        ("mobile_sam", "hub", "not listed from source 'hub', but from mobilesam, ultralytics"),
        ("model.safetensors", None, "no checkpoint is called"),
    ],
)
def test_what_cannot_be_had_is_said_in_a_sentence(name, source, words):
    with pytest.raises(CheckpointError, match=words):
        lock.find(name, source)


def test_an_unknown_source_is_a_wrong_argument():
    with pytest.raises(ValueError, match=r"source must be one of meta, mobilesam, hub, .* not 'nobody'"):
        lock.find("sam_vit_b", "nobody")


def test_files_are_found_by_size_and_hash():
    tiny = lock.find("sam2.1_hiera_tiny")
    names = ["sam2.1_hiera_tiny", "facebook/sam2.1-hiera-tiny/sam2.1_hiera_tiny.pt"]
    assert [entry.name for entry in lock.by_size(156_008_466)] == names
    assert [entry.name for entry in lock.by_sha256(tiny.sha256.upper())] == names
    assert lock.by_size(1) == ()
    assert lock.by_sha256("0" * 64) == ()


def test_equal_bytes_have_equal_facts():
    facts: dict[str, Any] = {}
    for entry in lock.entries():
        same = (entry.bytes, entry.variant, entry.layout, entry.tensors)
        assert facts.setdefault(entry.sha256, same) == same
    assert len({entry.bytes for entry in lock.entries()}) == len(facts)


def manifest(row):
    kind = "__Sam2VideoModel" if row.layout == "transformers" and "sam2" in row.variant else ""
    layout = "ultralytics" if row.variant == "mobile_sam" else row.layout
    return MANIFESTS / f"{layout}__{row.variant}{kind}.tsv.gz"


@pytest.mark.parametrize("row", lock.read_lock(ROOT / "checkpoints.lock").entries, ids=lambda row: row.name)
def test_tensors_and_bytes_agree_with_the_manifest(row):
    with gzip.open(manifest(row), "rt", encoding="utf-8") as file:
        head = file.readline()
    tensors, elements = (int(re.search(rf"{word} (\d+)", head)[1]) for word in ("tensors", "elements"))
    tied = 1 if row.layout == "transformers" and row.variant.startswith("sam_") else 0
    assert row.tensors == tensors - tied
    width = 2 if row.source == "ultralytics" and row.variant != "mobile_sam" else 4
    beside = row.bytes - elements * width
    assert 0 < beside < 600 * tensors  # names, shapes and the padding between tensors


def test_variants_are_ours():
    variants = pytest.importorskip("samblocks.variants").VARIANTS
    listed = lock.read_lock()
    assert {row.variant for row in (*listed.entries, *listed.unlocked)} == set(variants)


GOOD = {"data": noise(10), "url": "https://example.org/model.pt"}


def test_a_list_of_ones_own(tmp_path, monkeypatch):
    path = write_lock(tmp_path / "own.lock", GOOD, GOOD | {"url": "http://127.0.0.1:8000/b.pt"})
    assert [entry.file for entry in lock.entries(path)] == ["model.pt", "b.pt"]
    monkeypatch.setenv("SAMBLOCKS_LOCK", str(path))
    assert lock.find("b").place == "http://127.0.0.1:8000/b.pt"
    assert lock.read_lock().path == path


def test_a_changed_list_is_read_again(tmp_path):
    path = write_lock(tmp_path / "own.lock", GOOD)
    assert len(lock.entries(path)) == 1
    before = path.stat().st_mtime_ns
    write_lock(path, GOOD, GOOD)
    if path.stat().st_mtime_ns == before:
        pytest.skip("this file system tells no time of change")
    assert len(lock.entries(path)) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sha256": "A" * 64}, "sha256 must be 64 hexadecimal digits in lower case"),
        ({"sha256": "a" * 63}, "sha256 must be 64"),
        ({"bytes": 0}, "bytes must be a positive integer, not 0"),
        ({"tensors": "three"}, "tensors must be a positive integer, not 'three'"),
        ({"layout": "keras"}, "layout must be one of meta, .* not 'keras'"),
        ({"licence": ""}, "licence must be a printable string that is not empty"),
        ({"colour": "red"}, "unknown field 'colour'"),
        ({"url": "http://example.org/model.pt"}, "url must begin with https"),
        ({"url": "https://example.org/"}, "url must end with a file name"),
        ({"repository": "a/b", "revision": "c" * 40, "filename": "d"}, "both a url and a repository"),
        ({"filename": "../d"}, "filename must stay inside the repository"),
        ({"filename": "/d"}, "filename must stay inside the repository"),
        ({"revision": "main"}, "revision must be a whole commit"),
    ],
)
def test_a_wrong_table_is_named(tmp_path, change, words):
    path = write_lock(tmp_path / "own.lock", GOOD | change)
    with pytest.raises(CheckpointError, match=f"own.lock: file_0: .*{words}"):
        lock.read_lock(path)


def replaced(tmp_path, old, new):
    path = write_lock(tmp_path / "own.lock", GOOD)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("schema = 1", "schema = 2", "has schema 2; this samblocks reads schema 1"),
        ("schema = 1", "", "has schema None"),
        ("schema = 1", "schema = 1\nother = 1", "unknown tables: other"),
        ("[[checkpoint]]", "[[checkpoint]", "cannot be read"),
        ("[[checkpoint]]", "checkpoint = [3]\n[unlocked]", "3: is not a table"),
        ('name = "file_0"', "", "a table without a name: has no 'name'"),
        ('url = "https://example.org/model.pt"', "", "file_0: is locked without url"),
        (
            'url = "https://example.org/model.pt"',
            'repository = "a/b"',
            "locked without revision and filename",
        ),
        ('evidence = "made by a test"', "", "has no 'evidence'"),
        ("[[checkpoint]]", "[[unlocked]]", "unknown field 'evidence'"),
        ('evidence = "made by a test"', 'missing = ["url"]\nnote = "x"', "unknown field 'missing'"),
    ],
)
def test_a_wrong_list_is_named(tmp_path, old, new, words):
    with pytest.raises(CheckpointError, match=words):
        lock.read_lock(replaced(tmp_path, old, new))


@pytest.mark.parametrize("missing", ['["url"]', "[]", '"url"', "[1]"])
def test_an_unlocked_table_says_what_it_lacks(tmp_path, missing):
    path = replaced(tmp_path, "[[checkpoint]]", "[[unlocked]]")
    text = path.read_text().replace('evidence = "made by a test"', f'missing = {missing}\nnote = "x"')
    path.write_text(text)
    with pytest.raises(CheckpointError, match="file_0: missing must be"):
        lock.read_lock(path)


def test_one_name_for_one_file(tmp_path):
    with pytest.raises(CheckpointError, match="names 'same' twice"):
        lock.read_lock(write_lock(tmp_path / "own.lock", GOOD | {"name": "same"}, GOOD | {"name": "same"}))


def test_no_list(tmp_path):
    with pytest.raises(CheckpointError, match=r"cannot be read: No such file .*SAMBLOCKS_LOCK"):
        lock.read_lock(tmp_path / "none.lock")


def test_the_packaged_list_comes_before_that_of_a_checkout(tmp_path, monkeypatch):
    assert lock.default_path() == ROOT / "checkpoints.lock"
    monkeypatch.setattr(lock, "_HERE", tmp_path / "samblocks" / "checkpoints" / "published" / "lock.py")
    assert lock.default_path() == tmp_path / "checkpoints.lock"
    beside = tmp_path / "samblocks" / "checkpoints" / "published" / "checkpoints.lock"
    beside.parent.mkdir(parents=True)
    beside.touch()
    assert lock.default_path() == beside


@pytest.mark.parametrize("name", ["typo.pt", "typo", "sam_b.pt"])
def test_a_name_that_is_neither_a_file_nor_locked(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=f"there is no file {name}, and .*(called|not locked)"):
        load(name)


@pytest.mark.parametrize(("name", "said"), [("sam2.1_hiera_tiny.pt", True), ("sam2.1_hiera_tiny", False)])
def test_a_missing_file_of_a_published_name_is_no_matter_of_the_network_alone(
    tmp_path, monkeypatch, name, said
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAMBLOCKS_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError) as raised:
        load(name)
    assert str(raised.value).startswith(f"there is no file {name} here, and the published one") is said
