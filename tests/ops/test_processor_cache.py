"""Chunks follow the cache that the machine reports, by one rule, and an answer that is none changes nothing."""

from pathlib import Path

import pytest

from samblocks.ops.chunking import ChunkSizes
from samblocks.ops.processor_cache import SAID_BY_USER, last_level_cache, processor_cache

EPYC = [
    ("1", "Data", "32K"),
    ("1", "Instruction", "32K"),
    ("2", "Unified", "512K"),
    ("3", "Unified", "32768K"),
]


def reported(folder: Path, *caches: tuple[str, str, str]) -> Path:
    for index, files in enumerate(caches):
        cache = folder / f"index{index}"
        cache.mkdir()
        for name, text in zip(("level", "type", "size"), files, strict=True):
            (cache / name).write_text(text + "\n")
    return folder


@pytest.mark.parametrize(
    ("caches", "size"),
    [
        (EPYC, 32 << 20),
        (EPYC[::-1], 32 << 20),
        (EPYC[:3], 512 << 10),
        ([("1", "Instruction", "64K")], None),
        ([("2", "Unified", "0K"), ("3", "Unified", "")], None),
        ([("2", "Unified", "1M"), ("x", "Unified", "32K"), ("1", "Data", "48K")], 48 << 10),
        ([], None),
    ],
)
def test_the_last_cache_before_memory_is_read(
    caches: list[tuple[str, str, str]], size: int | None, tmp_path: Path
) -> None:
    assert last_level_cache(reported(tmp_path, *caches)) == size


def test_a_cache_that_says_little_is_left_out(tmp_path: Path) -> None:
    reported(tmp_path, *EPYC)
    (tmp_path / "index3" / "size").unlink()
    (tmp_path / "index2" / "type").write_bytes(b"\xff")
    assert last_level_cache(tmp_path) == 32 << 10


def test_the_users_word_counts_and_an_empty_one_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SAID_BY_USER, "12")
    assert processor_cache() == 12 << 20
    monkeypatch.setenv(SAID_BY_USER, "")
    assert processor_cache() == last_level_cache()


@pytest.mark.parametrize("said", ["0", "-4", "4.5", "8 MB", "big"])
def test_a_word_that_is_no_size_is_refused(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SAID_BY_USER, said)
    with pytest.raises(
        ValueError, match=f"{SAID_BY_USER} must be a whole number of MB above 0, but is '{said}'"
    ):
        processor_cache()


@pytest.mark.parametrize(
    ("cache", "chunk"),
    [
        (None, 4),
        (48 << 10, 2),
        (8 << 20, 2),
        (31 << 20, 2),
        (32 << 20, 4),
        (45 << 20, 4),
        (64 << 20, 8),
        (384 << 20, 8),
    ],
)
def test_sizes_in_bytes_keep_their_proportions(cache: int | None, chunk: int) -> None:
    usual, sizes = ChunkSizes(), ChunkSizes.for_cache(cache)
    assert sizes.chunk == chunk << 20
    for name, size in vars(usual).items():
        follows = name in ("left_whole", "chunk", "scores", "enlarged")
        assert getattr(sizes, name) == (size * chunk // 4 if follows else size), name
