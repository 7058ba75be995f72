"""Made-up and damaged checkpoint files without end: each is read, or ends in one sentence.

`python tests/checkpoints/fuzz_files.py 10000` makes that many inputs, half of them valid up to their header or
directory, and prints what came of them. The tests make a few hundred.
"""

from __future__ import annotations

import io
import json
import os
import pickletools
import resource
import sys
import tempfile
import time
import tracemalloc
import zipfile
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from pickle_parts import archive_of, number, sequence, tensor_of, text  # noqa: E402

from samblocks.checkpoints import inspect  # noqa: E402
from samblocks.checkpoints.reading.read import read  # noqa: E402
from samblocks.errors import CheckpointError  # noqa: E402
from samblocks.layouts.tensors import TORCH_DTYPES  # noqa: E402

_IMPORTED = {"encodings", "torch", "samblocks"}
"""What is imported late by ourselves; nothing else may come with a file."""

LEAST_SECONDS, SECONDS_A_BYTE = 0.25, 1e-5
LEAST_BYTES, BYTES_A_BYTE = 2**20, 200
"""What reading may take: a constant and so much for each byte of the file, however it is put together."""

HEADER_WORDS = (
    "its header claims",
    "ends inside its header",
    "its header is no JSON",
    "its first bytes are those of neither",
    "it is compressed with",
    "its zip directory",
    "its end is missing",
    "damaged or empty zip",
    "is not where its directory says",
    "is a web page",
    "looks like an ONNX",
    "is empty",
    "is a plain pickle",
)
"""Ends of files that were given up before anything behind the header was looked at."""

NAMES = st.sampled_from(
    [
        "weight",
        "bias",
        "a",
        "",
        "no_mem_embed",
        "model",
        "é\n\u2028",
        "../../x",
        "image_encoder.pos_embed",
        "x" * 300,
    ]
)
SIZES = st.one_of(st.integers(0, 4), st.sampled_from([-1, 2**31, 2**32, 2**62, 2**63, 2**64, 10**30]))
SCALARS = st.one_of(st.none(), st.booleans(), SIZES, st.floats(), st.text(max_size=5))
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


def flipped(draw: st.DrawFn, data: bytes, low: int = 0) -> bytes:
    """Some bytes changed, cut out, doubled or added."""
    raw = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        where = draw(st.integers(min(low, len(raw)), len(raw)))
        match draw(st.integers(0, 4)):
            case 0:
                raw[where : where + 1] = bytes([draw(st.integers(0, 255))])
            case 1:
                del raw[where : where + draw(st.integers(1, 40))]
            case 2:
                raw[where:where] = raw[where : where + draw(st.integers(1, 40))]
            case 3:
                raw[where:where] = draw(st.binary(max_size=12))
            case _:
                raw[where : where + 4] = draw(st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f"]))
    return bytes(raw)


# safetensors


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, object], int]:
    """A header that is right, and the bytes that follow it."""
    table: dict[str, object] = {"__metadata__": {"format": "pt"}} if draw(st.booleans()) else {}
    position = 0
    for name in draw(st.lists(NAMES, max_size=5, unique=True)):
        dtype = draw(st.sampled_from(list(TORCH_DTYPES)))
        shape = draw(st.lists(st.integers(0, 4), max_size=4))
        size = TORCH_DTYPES[dtype].itemsize
        for n in shape:
            size *= n
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + size]}
        position += size
    return table, position


@st.composite
def safetensors_behind_header(draw: st.DrawFn) -> bytes:
    """Valid JSON of the right length in front, with lies in it."""
    table, size = draw(tables())
    for _ in range(draw(st.integers(0, 3))):
        names = [name for name, entry in table.items() if isinstance(entry, dict)]
        match draw(st.integers(0, 4)):
            case 0 if names:
                entry = dict(table[draw(st.sampled_from(names))])  # type: ignore[call-overload]
                entry[draw(st.sampled_from(["dtype", "shape", "data_offsets", "more"]))] = draw(JSON)
                table[draw(st.sampled_from(names))] = entry
            case 1 if names:
                table[draw(NAMES)] = table[draw(st.sampled_from(names))]
            case 2:
                table[draw(NAMES)] = draw(JSON)
            case 3 if names:
                name = draw(st.sampled_from(names))
                offsets = [draw(st.integers(-2, size + 8)), draw(st.integers(-2, size + 8))]
                table[name] = {**table[name], "data_offsets": offsets}  # type: ignore[dict-item]
            case _:
                size = max(0, size + draw(st.integers(-9, 9)))
    raw = json.dumps(table).encode()
    if draw(st.integers(0, 9)) == 0:
        raw = raw[:-1] + b"," + raw[1:]  # every key twice
    return len(raw).to_bytes(8, "little") + raw + b"\1" * min(size, 4096)


@st.composite
def safetensors_damaged(draw: st.DrawFn) -> bytes:
    """Any bytes of a safetensors file changed, its length too."""
    return flipped(draw, draw(safetensors_behind_header()))


# zip archives and pickles

STRINGS = (
    "weight",
    "model",
    "state_dict",
    "storage",
    "0",
    "1",
    "cpu",
    "os",
    "system",
    "torch",
    "FloatStorage",
)
GLOBALS = (
    "collections\nOrderedDict\n",
    "torch._utils\n_rebuild_tensor_v2\n",
    "torch._utils\n_rebuild_tensor_v3\n",
    "torch._utils\n_rebuild_parameter\n",
    "torch._tensor\n_rebuild_from_type_v2\n",
    "torch\nFloatStorage\n",
    "torch\nHalfStorage\n",
    "torch.storage\nUntypedStorage\n",
    "torch\nfloat8_e4m3fn\n",
    "torch\nSize\n",
    "builtins\nbytearray\n",
    "os\nsystem\n",
)


@st.composite
def tensors(draw: st.DrawFn) -> bytes:
    """The instructions for one tensor, of which anything may be a lie."""
    count, shape = 6, [2, 3]
    strides, offset = [3, 1], 0
    key, kind = "0", "torch\nFloatStorage\n"
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        match draw(st.integers(0, 5)):
            case 0:
                count = draw(SIZES)
            case 1:
                shape = draw(st.lists(SIZES, min_size=2, max_size=draw(st.sampled_from([2, 2, 2, 4]))))
            case 2:
                strides = draw(st.lists(SIZES, min_size=2, max_size=draw(st.sampled_from([2, 2, 2, 4]))))
            case 3:
                offset = draw(SIZES)
            case 4:
                key = draw(st.sampled_from(["0", "1", "2", "../0", "", "é"]))
            case _:
                kind = draw(st.sampled_from(GLOBALS))
    storage = sequence([text("storage"), b"c" + kind.encode(), text(key), text("cpu"), number(count)]) + b"Q"
    numbers = [number(offset), sequence([number(n) for n in shape]), sequence([number(n) for n in strides])]
    hooks = b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + sequence([storage, *numbers, b"\x89", hooks]) + b"R"


@st.composite
def values(draw: st.DrawFn, depth: int = 3) -> bytes:
    """The instructions for a value."""
    kind = draw(st.integers(0, 9 if depth else 5))
    if kind < 3:
        return draw(tensors())
    if kind < 4:
        return text(draw(st.sampled_from(STRINGS)))
    if kind < 5:
        return number(draw(SIZES))
    if kind < 6:
        return draw(st.sampled_from([b"N", b"\x88", b"]", b"}", b")", b"\x8f", b"G" + b"\0" * 8]))
    inner = draw(st.lists(values(depth - 1), max_size=3))
    if kind < 9:
        items = b"".join(text(draw(st.sampled_from(STRINGS))) + value for value in inner)
        return b"}(" + items + b"u"
    return draw(st.sampled_from([b"(%bt", b"](%be", b"(%bl"])).replace(b"%b", b"".join(inner))


@st.composite
def instructions(draw: st.DrawFn) -> bytes:
    """Any instructions in any order."""
    parts = []
    for operation in draw(st.lists(st.sampled_from(pickletools.opcodes), max_size=30)):
        name, code = operation.name, operation.code.encode("latin-1")
        if name in ("GLOBAL", "INST"):
            parts.append(code + draw(st.sampled_from(GLOBALS)).encode())
        elif name in ("BINUNICODE", "SHORT_BINUNICODE"):
            parts.append(text(draw(st.sampled_from(STRINGS))))
        elif operation.arg is None:
            parts.append(code)
        elif operation.arg.n > 0:
            parts.append(code + bytes([draw(st.integers(0, 3))]) + b"\0" * (operation.arg.n - 1))
        else:
            parts.append(number(draw(st.integers(0, 9))))
    return b"".join(parts)


@st.composite
def pickles(draw: st.DrawFn) -> bytes:
    """A state dict, possibly in envelopes, possibly damaged, or no such thing at all."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return b"\x80\x02" + draw(instructions()) + b"."
    items = b"".join(
        text(name) + draw(tensors())
        for name in draw(st.lists(st.sampled_from(STRINGS), max_size=4, unique=True))
    )
    state = b"}(" + items + b"u"
    if kind < 4:
        more = text(draw(st.sampled_from(STRINGS))) + draw(values())
        state = b"}(" + text(draw(st.sampled_from(STRINGS))) + state + more + b"u"
    whole = b"\x80\x02" + state + b"."
    return flipped(draw, whole, low=2) if kind > 6 else whole


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """A sound archive around any pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", draw(pickles()))
        if draw(st.integers(0, 4)) == 0:
            archive.writestr("archive/byteorder", draw(st.sampled_from([b"little"] * 6 + [b"big", b""])))
        for key in draw(st.sampled_from(["0", "0", "01", "012", "2", ""])):
            archive.writestr(
                f"archive/data/{key}", b"\1" * draw(st.sampled_from([24, 24, 24, 24, 24, 12, 0, 7]))
            )
    return stream.getvalue()


@st.composite
def archives_sharing(draw: st.DrawFn) -> bytes:
    """Containers that hold each other by the memo, many times over: what a walk must not walk anew each time."""
    made = [b"\x80\x02}q\0", text("first"), tensor_of(), b"q\1s"]
    count = 2
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from([b"}", b"]", b"("]))
        times = draw(st.sampled_from([1, 1, 30, 600]))
        inside = [b"h%c" % draw(st.integers(0, count - 1)) for _ in range(draw(st.integers(1, 3)))]
        fresh = draw(st.sampled_from([b"", b"", tensor_of(), b"G" + bytes(8), b"}", text("x")]))
        if kind == b"}":
            words = [text(f"k{n}") + (inside * times)[n] for n in range(times)]
            body = b"}(" + b"".join(words) + b"u"
        else:
            body = (b"](" if kind == b"]" else b"(") + (b"".join(inside) + fresh) * times
            body += b"e" if kind == b"]" else b"t"
        name = draw(st.sampled_from(STRINGS)) + str(count)
        made.append(text(name) + body + b"q%cs" % count)
        count += 1
    made += [text(f"t{n}") + b"h%cs" % (count - 1) for n in range(draw(st.sampled_from([0, 0, 600])))]
    return archive_of(b"".join(made) + b".")


@st.composite
def archives_damaged(draw: st.DrawFn) -> bytes:
    """Any bytes of an archive changed; the last hundreds of bytes are its directory."""
    data = draw(archives())
    return flipped(
        draw, data, low=draw(st.sampled_from([0, max(0, len(data) - 200), max(0, len(data) - 22)]))
    )


def _old_heads() -> bytes:
    head = number(0x1950A86A20F9469CFC6C), number(1001), b"}" + text("little_endian") + b"\x88s"
    return b"".join(b"\x80\x02" + part + b"." for part in head)


@st.composite
def old_files(draw: st.DrawFn) -> bytes:
    """The format before PyTorch 1.6, around any pickle."""
    keys = list(draw(st.sampled_from(["0", "0", "0", "", "01", "é", "00"])))
    listed = b"\x80\x02](" + b"".join(map(text, keys)) + b"e."
    count = draw(st.sampled_from([6, 6, 6, 7, -1, 2**62]))
    body = (
        _old_heads()
        + draw(pickles())
        + listed
        + (count.to_bytes(8, "little", signed=True) + b"\1" * 24) * len(keys)
    )
    return flipped(draw, body) if draw(st.integers(0, 3)) == 0 else body


KINDS = {
    "safetensors, behind the header": safetensors_behind_header(),
    "safetensors, damaged": safetensors_damaged(),
    "zip, any pickle": archives(),
    "zip, containers shared": archives_sharing(),
    "zip, damaged": archives_damaged(),
    "old torch files": old_files(),
}


def outcome(path: Path, data: bytes) -> str:
    """Read a file as every front door does; what came of it in a word, and whatever should not be raises."""
    path.write_bytes(data)
    modules, files = set(sys.modules), sorted(path.parent.iterdir())
    start = time.process_time()
    try:
        file = read(path)
        assert time.process_time() - start < LEAST_SECONDS + SECONDS_A_BYTE * len(data)
        for name, info in file.tensors.items():
            tensor = file.get(name)
            assert tuple(tensor.shape) == info.shape
            assert tensor.nbytes <= len(data)
            assert tensor.is_contiguous()
        assert file.stored_bytes <= len(data)
        inspect(path)
        word = "explained"
    except CheckpointError as error:
        message = str(error)
        assert message.endswith("."), message
        assert not set(message) & set("\n\r\0"), repr(message)
        assert len(message) < 3000, message
        word = (
            "given up at the header"
            if any(words in message for words in HEADER_WORDS)
            else "refused behind it"
        )
        if "holds no model" in message:
            word = "read"
    assert time.process_time() - start < 2
    assert peak_of(path) < LEAST_BYTES + BYTES_A_BYTE * len(data)
    assert {name for name in set(sys.modules) - modules if name.partition(".")[0] not in _IMPORTED} == set()
    assert sorted(path.parent.iterdir()) == files
    return word


def peak_of(path: Path) -> int:
    """The most bytes that reading a file takes, above what there was before."""
    tracemalloc.start()
    try:
        read(path)
    except CheckpointError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def run(kind: str, count: int, folder: Path, *, seeded: bool) -> Counter[str]:
    """Make inputs of one kind and count what came of them."""
    counts: Counter[str] = Counter()
    path = folder / "file.pt"
    outcome(
        path, archive_of(b"\x80\x02}" + text("no_mem_embed") + tensor_of() + b"s.")
    )  # imports, and fills caches

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=seeded,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(KINDS[kind])
    def one(data: bytes) -> None:
        counts[outcome(path, data)] += 1

    one()
    return counts


def main(total: int) -> None:
    """Run all kinds and print the counts."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sums: Counter[str] = Counter()
    start = time.perf_counter()
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            counts = run(kind, -(-total // len(KINDS)), Path(folder), seeded=False)
        sums += counts
        print(
            f"{kind:32}{sum(counts.values()):>8,}  "
            + ", ".join(f"{word} {n:,}" for word, n in counts.most_common())
        )
    everything = sum(sums.values())
    behind = everything - sums["given up at the header"]
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    print(f"{everything:,} inputs, {behind:,} of them ({behind / everything:.0%}) past the header; ", end="")
    print(f"{time.perf_counter() - start:.0f} s, {grown} MiB more than at the start")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else int(os.environ.get("SAMBLOCKS_FUZZ", "10000")))
