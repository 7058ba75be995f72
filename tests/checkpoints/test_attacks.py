"""A folder of files made to harm, to mislead or to waste: each ends in one sentence, soon, and runs nothing."""

import io
import json
import os
import pickle
import pickletools
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._weights_only_unpickler import _get_allowed_globals

from samblocks.checkpoints import convert_file, inspect, load
from samblocks.checkpoints.reading.pickles import _HANDLERS, _PUSHES_ARGUMENT, KNOWN
from samblocks.checkpoints.reading.read import read
from samblocks.errors import CheckpointError

CANARY = Path(f"canary-{os.getpid()}")
"""A file that comes into being where an attack succeeds."""


class _Runs:
    """Pickled, it asks for a shell command."""

    def __reduce__(self):
        return os.system, (f"touch {CANARY}",)


class _Evaluates:
    def __reduce__(self):
        return eval, (f"open({str(CANARY)!r}, 'w')",)


def saved(value, **options):
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


WEIGHT = {"weight": torch.arange(6.0).reshape(2, 3)}
GOOD = saved(WEIGHT)
OLD = saved(WEIGHT, _use_new_zipfile_serialization=False)


def archive(pickled, *, folder="archive", method=zipfile.ZIP_STORED, storage=b"\0" * 24, more=()):
    """An archive like torch.save's around any pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as file:
        file.writestr(f"{folder}/data.pkl", pickled)
        file.writestr(f"{folder}/data/0", storage)
        for name, data in more:
            file.writestr(name, data)
    return stream.getvalue()


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def numbers(*values):
    return b"(" + b"".join(b"\x8a\x09" + value.to_bytes(9, "little", signed=True) for value in values) + b"t"


def tensor(shape=(2, 3), strides=(3, 1), offset=0, key="0", kind="torch\nFloatStorage", count=6):
    """The pickle of a state dict with one tensor, of which everything can be a lie."""
    storage = (
        b"("
        + text("storage")
        + f"c{kind}\n".encode()
        + text(key)
        + text("cpu")
        + numbers(count)[1:-1]
        + b"tQ"
    )
    call = (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + numbers(offset)[1:-1]
        + numbers(*shape)
        + numbers(*strides)
    )
    return b"\x80\x02}" + text("weight") + call + b"\x89ccollections\nOrderedDict\n)RtRs."


def header(entries, data=b"\0" * 24, length=None):
    """A safetensors file around any header."""
    raw = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw + data


def entry(shape=(2, 3), dtype="F32", offsets=(0, 24)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def patched(data, where, new):
    return data[:where] + new + data[where + len(new) :]


def overlapping():
    """A record that lies inside another one, as in zip bombs: the pickle's bytes go on behind its end."""
    inner = (
        struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 24, 24, 14, 0)
        + b"archive/data/0"
        + b"\0" * 24
    )
    outer = tensor() + inner
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, len(outer), len(outer), 16, 0)
    local += b"archive/data.pkl" + outer
    directory = b"".join(
        struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, *(0,) * 5, size, size, len(name), *(0,) * 5, start)
        + name
        for name, size, start in (
            (b"archive/data.pkl", len(outer), 0),
            (b"archive/data/0", 24, len(local) - len(inner)),
        )
    )
    return (
        local + directory + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 2, 2, len(directory), len(local), 0)
    )


def many_entries():
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 65535, 65535, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    wide = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 2**40, 2**40, 2**50, 0)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, len(GOOD), 1)
    return GOOD + wide + locator + end


def laughs():
    """A tuple of two of a tuple of two of … 60 times: hashing it would take for ever."""
    return (
        b"\x80\x02})q\x00"
        + b"".join(b"h%c\x86q%c" % (n % 250, (n + 1) % 250) for n in range(60))[1:]
        + b"K\x01s."
    )


def doubled_lists():
    """A thousand copies of one long list of pairs."""
    pairs = b"".join(text(f"k{n}") + b"K\x01\x86" for n in range(2000))
    return b"\x80\x02](" + pairs + b"e\x85q\x010" + b"ccollections\nOrderedDict\nh\x01R0" * 300 + b"}."


def nested(depth=100_000):
    return b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."


def cyclic():
    table: dict[str, Any] = {"model": None, "weight": 3}
    table["model"] = table
    table["state_dict"] = [table]
    return pickle.dumps(table, protocol=2)


def inside(*values):
    """Opcodes that leave a value, wrapped into a state dict."""
    return b"\x80\x02}" + text("weight") + b"".join(values) + b"s."


ATTACKS = {
    # no checkpoint at all
    "empty.pt": (b"", "is empty"),
    "one_byte.pt": (b"\x00", "neither"),
    "noise.pt": (bytes(range(7, 256)) * 40, "neither"),
    "page.safetensors": (b"<!DOCTYPE html>\n<html><body>403</body></html>", "web page"),
    "proxy.pt": (b"\n\n<HTML><head>Sign in</head></HTML>", "web page"),
    "lfs.pt": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 155906050\n", "git-lfs"),
    "gzip.pt": (b"\x1f\x8b\x08\x00" + b"\0" * 90, "gzip"),
    "picture.pth": (b"\x89PNG\r\n\x1a\n" + b"\0" * 90, "picture"),
    "readme.pt": (b"cat and dog\nare friends\n" * 20, "neither"),
    "tar.pt": (b"\0" * 257 + b"ustar" + b"\0" * 300, "tar archive"),
    # zip archives
    "half.pt": (GOOD[: len(GOOD) // 2], "did not finish"),
    "no_end.pt": (GOOD[:-30], "did not finish"),
    "start.pt": (GOOD[:4], "did not finish"),
    "cut_directory.pt": (GOOD[:-200] + GOOD[-22:], "damaged|not where|outside"),
    "pictures.pt": (archive(b".", folder="a/b"), "no file of torch.save"),
    "two_roots.pt": (archive(tensor(), more=[("other/data.pkl", b".")]), "no file of torch.save"),
    "script.pt": (archive(tensor(), more=[("archive/code/a.py", b"import os")]), "TorchScript"),
    "deflated.pt": (archive(tensor(), method=zipfile.ZIP_DEFLATED), "compressed"),
    "bomb.pt": (lambda: archive(b"N" * 50_000_000 + b".", method=zipfile.ZIP_DEFLATED), "compressed"),
    "twice.pt": (lambda: _twice(), "twice"),
    "overlap.pt": (overlapping(), "overlaps"),
    "entries.pt": (many_entries(), "claims|outside|damaged"),
    "encrypted.pt": (patched(GOOD, GOOD.rfind(b"PK\x01\x02") + 8, b"\x01"), "encrypted"),
    "moved.pt": (patched(GOOD, GOOD.rfind(b"PK\x01\x02") + 42, b"\x07"), "not where"),
    "long_record.pt": (patched(GOOD, GOOD.rfind(b"PK\x01\x02") + 20, b"\xff\xff\xff\x0f" * 2), "outside"),
    "big_endian.pt": (archive(tensor(), more=[("archive/byteorder", b"big")]), "byte order"),
    "long_pickle.pt": (lambda: archive(b"N" * (33 * 2**20)), "larger than any"),
    # pickles that ask for more than tensors
    "system_0.pkl": (pickle.dumps(_Runs(), protocol=0), "system"),
    "system_2.pkl": (pickle.dumps(_Runs(), protocol=2), "system"),
    "system_4.pkl": (pickle.dumps({"model": _Runs()}, protocol=4), "system"),
    "system.pt": (saved({"model": WEIGHT, "hook": _Runs()}), "system"),
    "system_old.pt": (
        saved({"model": WEIGHT, "hook": _Runs()}, _use_new_zipfile_serialization=False),
        "system",
    ),
    "eval.pt": (saved({"model": WEIGHT, "hook": _Evaluates()}), "eval"),
    "inst.pt": (archive(b"(" + text("true") + b"ios\nsystem\n."), "os.system"),
    "obj.pt": (archive(b"\x80\x02(cos\nsystem\n" + text("true") + b"o."), "os.system"),
    "newobj.pt": (archive(b"\x80\x02cos\nsystem\n" + text("true") + b"\x85\x81."), "os.system"),
    "newobj_ex.pt": (archive(b"\x80\x04cos\nsystem\n" + text("true") + b"\x85}\x92."), "os.system"),
    "stack_global.pt": (archive(b"\x80\x04" + text("os") + text("system") + b"\x93."), "os.system"),
    "extension.pt": (archive(b"\x80\x02\x82\x01."), "extension"),
    "setstate.pt": (archive(b"\x80\x02cbuiltins\nobject\n)R}" + text("a") + b"K\x01sb."), "builtins.object"),
    "getattr.pt": (archive(inside(b"cbuiltins\ngetattr\n(ctorch\nSize\n" + text("x") + b"tR")), "getattr"),
    "module.pt": (saved(nn.Linear(2, 2)), "Linear"),
    "path_global.pt": (archive(b"\x80\x02ctorch.hub\nload\n."), "torch.hub.load"),
    "numpy.pt": (archive(inside(b"cnumpy.core.multiarray\n_reconstruct\n)R")), "numpy"),
    "many_globals.pt": (
        archive(b"\x80\x02" + b"".join(b"ca\nb%d\n0" % n for n in range(5000)) + b"}."),
        "more;",
    ),
    # pickles that are damaged, or meant to take for ever
    "no_stop.pt": (archive(b"\x80\x02}"), "cannot be read"),
    "underflow.pt": (archive(b"\x80\x020000."), "damaged"),
    "no_mark.pt": (archive(b"\x80\x02t."), "damaged"),
    "no_memo.pt": (archive(b"\x80\x02h\x07."), "nothing defined"),
    "bad_opcode.pt": (archive(b"\x80\x02\xff."), "damaged"),
    "long_integer.pt": (archive(b"I" + b"9" * 1_000_000 + b"\n."), "damaged"),
    "laughs.pt": (archive(laughs()), "no table|damaged|cannot be read"),
    "lists.pt": (archive(doubled_lists()), "again and again"),
    "nested.pt": (archive(nested()), "no table"),
    "cyclic.pt": (archive(cyclic()), "no table"),
    "keys.pt": (archive(b"\x80\x02}" + (text("a") + b"Ns") * 2 + b"."), "twice"),
    "persistent.pt": (archive(inside(b"\x80\x02" + text("/etc/passwd") + b"Q")), "no tensor storage"),
    "bytearray.pt": (archive(inside(b"cbuiltins\nbytearray\n" + numbers(10**11) + b"R")), "no table"),
    "one_tensor.pt": (saved(torch.ones(3)), "one tensor"),
    "list.pt": (saved([torch.ones(3)]), "no table"),
    "numbers.pt": (saved({"epoch": 3}), "no table"),
    # tensors that lie
    "small_storage.pt": (archive(tensor(), storage=b"\0" * 20), "smaller"),
    "outside.pt": (archive(tensor(offset=3)), "outside its storage"),
    "huge_shape.pt": (archive(tensor(shape=(2**40, 2**20))), "impossible shape"),
    "huge_stride.pt": (archive(tensor(strides=(2**40, 1))), "outside its storage"),
    "huge_count.pt": (archive(tensor(count=2**50)), "smaller"),
    "expanded.pt": (archive(tensor(shape=(10**9, 6), strides=(0, 1))), "repeats"),
    "negative_stride.pt": (archive(tensor(strides=(-3, 1), offset=3)), "negative"),
    "negative_shape.pt": (archive(tensor(shape=(-2, 3))), "negative"),
    "negative_offset.pt": (archive(tensor(offset=-1)), "negative"),
    "negative_count.pt": (archive(tensor(count=-6)), "impossible key or size"),
    "ragged.pt": (archive(tensor(shape=(2, 3, 1))), "do not fit together"),
    "dimensions.pt": (archive(tensor(shape=(1,) * 5000, strides=(1,) * 5000)), "impossible"),
    "no_storage.pt": (archive(tensor(key="7")), "does not hold"),
    "traversal.pt": (archive(tensor(key="../../../../etc/passwd")), "does not hold"),
    "quantized.pt": (archive(tensor(kind="torch\nQInt8Storage")), "QInt8Storage"),
    # the format before PyTorch 1.6
    "old_cut.pt": (OLD[:-3], "did not finish"),
    "old_half.pt": (OLD[: len(OLD) // 2], "cannot be read|damaged|did not finish"),
    "old_lie.pt": (patched(OLD, len(OLD) - 32, (2**40).to_bytes(8, "little")), "did not finish"),
    "old_negative.pt": (patched(OLD, len(OLD) - 32, b"\xff" * 8), "did not finish"),
    "plain_pickle.pt": (pickle.dumps({"a": 1}, protocol=4), "plain pickle"),
    # safetensors
    "header_huge.safetensors": (header({"a": entry()}, length=2**63), "claims"),
    "header_100mb.safetensors": (header({"a": entry()}, length=100 * 2**20), "claims"),
    "header_cut.safetensors": (header({"a": entry()}, data=b"", length=5000), "inside its header"),
    "header_bad.safetensors": (header(b'{"a": nothing}'), "no JSON"),
    "header_deep.safetensors": (header(b'{"a":' + b"[" * 100_000), "no JSON"),
    "header_wide.safetensors": (header(b"{" + b'"a":[],' * 200_000 + b'"b":[]}'), "twice"),
    "header_latin.safetensors": (header(b'{"\xe9": 1}'), "no JSON"),
    "header_list.safetensors": (header(b'{"a": [1, 2]}'), "malformed"),
    "metadata.safetensors": (header({"__metadata__": {"a": 1}, "b": entry()}), "metadata"),
    "no_tensor.safetensors": (header({"__metadata__": {"format": "pt"}}, data=b""), "no tensor"),
    "twins.safetensors": (header(b'{"a":%b,"a":%b}' % ((json.dumps(entry()).encode(),) * 2)), "twice"),
    "overlap.safetensors": (header({"a": entry(), "b": entry()}), "overlaps"),
    "gap.safetensors": (header({"a": entry((1,), offsets=(4, 8))}), "gap"),
    "tail.safetensors": (header({"a": entry()}, data=b"\0" * 40), "after its last"),
    "cut.safetensors": (header({"a": entry()}, data=b"\0" * 20), "did not finish"),
    "dtype.safetensors": (header({"a": entry(dtype="Q4_0")}), "dtype"),
    "size.safetensors": (header({"a": entry(dtype="F16")}), "not those of its shape"),
    "negative.safetensors": (header({"a": entry((-2, -3))}), "malformed"),
    "backwards.safetensors": (header({"a": entry(offsets=(24, 0))}), "not those of its shape"),
    "float.safetensors": (header({"a": entry((2.0, 3))}), "malformed"),
    "true.safetensors": (header({"a": entry((True, 6))}), "malformed"),
    "overflow.safetensors": (header({"a": entry((2**40, 2**40, 0), offsets=(0, 0))}), "impossible shape"),
    "digits.safetensors": (
        header(b'{"a":{"dtype":"F32","shape":[%b],"data_offsets":[0,24]}}' % (b"9" * 5000)),
        "JSON",
    ),
    "escape.safetensors": (header({"\x1b]0;a\x07": entry()}), "no text"),
    "escape.pt": (archive(tensor().replace(b"weight", b"we\ngh\x1b")), "no text"),
    "escape_global.pt": (archive(b"\x80\x02cos\nsy\x1b[31m\n."), "os.sy\\x1b[31m"),
    "more.safetensors": (header({"a": {**entry(), "code": "import os"}}), "malformed"),
}


def _twice():
    stream = io.BytesIO(archive(tensor()))
    with zipfile.ZipFile(stream, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("archive/data.pkl", b"N.")
    return stream.getvalue()


def place(folder, name):
    """Write one attack; returns its path."""
    made = ATTACKS[name][0]
    path = folder / name
    path.write_bytes(made() if callable(made) else made)
    return path


def refused(path, door=read):
    """The sentence that a front door ends in, which must come soon and leave nothing behind."""
    before, modules = sorted(path.parent.rglob("*")), set(sys.modules)
    start = time.process_time()
    with pytest.raises(CheckpointError) as caught:
        door(path)
    assert time.process_time() - start < 2
    assert sorted(path.parent.rglob("*")) == before
    assert {name for name in set(sys.modules) - modules if not name.startswith("encodings.")} == set()
    assert not CANARY.exists()
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert len(message) < 1800
    assert str(path) in message
    return message


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_ends_in_one_sentence(name, tmp_path):
    message = refused(place(tmp_path, name))
    assert any(part in message for part in ATTACKS[name][1].split("|")), message


@pytest.mark.parametrize(
    "door", [inspect, load, lambda path: convert_file(path, path.with_suffix(".pth"), to="meta")]
)
@pytest.mark.parametrize(
    "name", ["empty.pt", "half.pt", "bomb.pt", "system.pt", "expanded.pt", "gap.safetensors"]
)
def test_every_front_door_is_the_same(name, door, tmp_path):
    path = place(tmp_path, name)
    assert refused(path, door) == refused(path)


def test_what_is_no_file(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "symbolic links" in refused(tmp_path / "loop")
    (tmp_path / "nowhere.pt").symlink_to(tmp_path / "gone.pt")
    assert "No such file" in refused(tmp_path / "nowhere.pt")
    os.mkfifo(tmp_path / "pipe.pt")
    assert "regular file" in refused(tmp_path / "pipe.pt")
    (tmp_path / "folder.pt").mkdir()
    assert "is a folder" in refused(tmp_path / "folder.pt")
    (tmp_path / "folder.pt" / "model.safetensors").write_bytes(b"")
    assert "model.safetensors" in refused(tmp_path / "folder.pt")


def test_the_whole_folder_is_read_within_a_few_hundred_megabytes(tmp_path):
    for name in ATTACKS:
        place(tmp_path, name)
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from samblocks.checkpoints.reading.read import read\n"
        "from samblocks.errors import CheckpointError\n"
        "base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "count = 0\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    try:\n"
        "        read(path)\n"
        "    except CheckpointError:\n"
        "        count += 1\n"
        "print(count, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) // 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    count, mebibytes = map(int, done.stdout.split())
    assert count == len(ATTACKS)
    assert mebibytes < 300


def test_every_instruction_of_pickles_is_known():
    assert {operation.name for operation in pickletools.opcodes} == {*_HANDLERS, *_PUSHES_ARGUMENT, "STOP"}


def test_a_refusal_lists_every_global_and_says_what_to_do(tmp_path):
    class Strange:
        pass

    path = tmp_path / "model.pt"
    Strange.__qualname__ = "Strange"
    globals()["Strange"] = Strange
    torch.save([nn.Sequential(nn.Linear(2, 2), nn.GELU()), Strange()], path)
    message = refused(path)
    for name in ("Sequential", "Linear", "GELU", "Strange"):
        assert name in message
    assert "state_dict()" in message
    assert "weights_only" not in message  # other things are in it that no model's code explains


def test_nothing_is_let_through_that_weights_only_refuses():
    allowed = _get_allowed_globals()
    assert {name for name in KNOWN if name not in allowed} == set()
