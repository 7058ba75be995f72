"""Reading takes as long, and as much memory, as the file is large, however its parts are put together."""

import tracemalloc
from contextlib import suppress

import pytest
from pickle_parts import archive_of, number, tensor_of, text

from samblocks.checkpoints.reading import envelope, pickles
from samblocks.checkpoints.reading.read import read
from samblocks.errors import CheckpointError


def many(count, each):
    return b"".join(each(n) for n in range(count))


def keys(count, value):
    return many(count, lambda n: text(f"k{n}") + value)


STATE = text("model") + b"}" + text("a") + tensor_of() + b"q\1s"
LONG = text("x" * 500_000) + b"q\0q\1"
SLOW = {
    # keys of one hash, which a table compares one by one
    "colliding keys": b"}(" + many(20_000, lambda n: number(n * (2**61 - 1)) + b"N") + b"u",
    "colliding memo": many(20_000, lambda n: b"Np%d\n0" % (n * (2**61 - 1))) + b"}",
    # what takes long to hash, to copy or to compare, again and again
    "long globals": LONG + b"h\0h\1\x930" * 20_000 + b"}",
    "long integers": b"\x8b\x80\x84\x1e\x00" + b"\x7f" * 2_000_000 + b"q\0" + b"}h\0Ns0" * 20_000,
    "long counts": b"\x8b\x80\x84\x1e\x00"
    + b"\x7f" * 2_000_000
    + b"q\0\x85q\1"
    + tensor_of().replace(number(6), b"h\0") * 9,
    # one long container under many keys, by itself or in a container of each key's own
    "shared table": b"}(" + text("z") + b"}(" + keys(6_000, b"N") + b"uq\2" + keys(6_000, b"h\2") + b"u",
    "shared list": b"}(" + STATE + text("z") + b"](" + b"]" * 6_000 + b"eq\2" + keys(6_000, b"h\2") + b"u",
    "shared inside": b"}("
    + STATE
    + text("z")
    + b"]("
    + b"]" * 6_000
    + b"eq\2"
    + keys(6_000, b"](h\2e")
    + b"u",
    "shared tensors": b"}("
    + STATE
    + text("z")
    + b"]("
    + tensor_of() * 600
    + b"eq\2"
    + keys(2000, b"(h\2h\1t")
    + b"u",
    "chain": b"}(" + STATE + text("z") + b"]q\2" + keys(6_000, b"(h\2h\1tq\2") + b"u",
}


@pytest.mark.parametrize("kind", SLOW)
def test_work_is_linear(tmp_path, kind, processor_seconds):
    path = tmp_path / "a.pt"
    path.write_bytes(archive_of(b"\x80\x04" + SLOW[kind] + b"."))

    def attempt():
        with suppress(CheckpointError):
            read(path)

    assert processor_seconds(attempt) < 0.5 + 5e-6 * path.stat().st_size


@pytest.mark.parametrize("kind", ["long counts", "shared inside"])
def test_memory_is_linear(tmp_path, kind):
    path = tmp_path / "a.pt"
    path.write_bytes(archive_of(b"\x80\x04" + SLOW[kind] + b"."))
    tracemalloc.start()
    with suppress(CheckpointError):
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20 + 200 * path.stat().st_size


def test_counts_stay_exact_until_the_budget_is_spent(tmp_path, monkeypatch):
    """Beyond it a container is counted under the first key that leads to it: an end, and no wrong tensor."""
    inner = b"](" + tensor_of() * 30 + b"eq\2"
    state = b"}(" + STATE + text("z") + inner + keys(20, b"(h\2h\1t") + b"u"
    path = tmp_path / "a.pt"
    path.write_bytes(archive_of(b"\x80\x02" + state + b"."))
    assert [part.tensors for part in read(path).ignored] == [30, *[31] * 20]
    monkeypatch.setattr(envelope, "MOST_VISITS", 100)
    counts = [part.tensors for part in read(path).ignored]
    assert counts[:3] == [30, 31, 31]
    assert counts[-1] == 1


@pytest.mark.parametrize(
    ("limit", "unit", "word"),
    [
        ("MOST_STEPS", b"N0", "instructions"),
        ("MOST_KEPT", b"]", "keeps more"),
        ("MOST_KEPT", b"(", "keeps more"),
        ("MOST_KEPT", b"N\x94", "keeps more"),
        ("MOST_KEPT", b"N\x85", "keeps more"),
    ],
)
def test_what_is_done_and_kept_has_an_end(tmp_path, monkeypatch, limit, unit, word):
    monkeypatch.setattr(pickles, limit, 3000)
    path = tmp_path / "a.pt"
    for times, refused in ((1000, False), (3001, True)):
        path.write_bytes(archive_of(b"\x80\x04" + unit * times + b"."))
        with pytest.raises(CheckpointError) as caught:
            read(path)
        assert (word in str(caught.value)) == refused
