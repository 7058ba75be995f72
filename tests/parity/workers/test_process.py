"""Processes of the references' environment that print, hang, talk nonsense or die: told, and gone afterwards."""

import io
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer

import pytest
import torch

from parity.errors import NotInstalledError, WorkerError
from parity.workers import boot, process, protocol
from parity.workers.client import Client
from parity.workers.one_request import ask
from parity.workers.process import Process
from parity.workers.registry import Reference

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")

OURS = Path(sys.executable)
SIDE = "far.side:serve"
DOUBLE = """
def respond(request, tensors):
    print("noise")
    return request, {name: 2 * value for name, value in tensors.items()}
"""

Alive = Callable[[int], bool]


def test_an_environment_may_print_a_banner(interpreter, far, tmp_path):
    (far["far"] / "double.py").write_text(DOUBLE)
    python = interpreter('echo "Welcome to my environment"; exec "$PYTHON" "$@"')
    answer, made = ask("far", python, "far.double", {"a": 1}, {"x": torch.ones(3)}, packages=far)
    assert answer == {"a": 1}
    assert made["x"].tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("exec sleep 300", r"the far worker did not start within 0\.5 s: it said nothing; --worker-timeout"),
        ("echo patience; exec sleep 300", "did not start within 0.5 s: it said nothing"),
        ("printf '\\005\\000\\000hello'", r"died on its start: it printed '\\x05\\x00\\x00hello'"),
        ("echo 'no such library' >&2; exit 3", "died on its start: no such library"),
        ("exit 3", "it said nothing and ended with status 3"),
        (
            "printf '\\223PARITY\\n" + 16 * "\\377" + "'; exec sleep 300",
            "cannot be understood on its start: a message of 18446744073709551615 and",
        ),
        ("exec yes", "cannot be understood on its start: b'y.ny.n"),
    ],
    ids=["hangs", "prints and hangs", "garbage", "last words", "status", "huge length", "endless banner"],
)
def test_an_interpreter_that_does_not_greet(interpreter, scratch, line, message):
    started = time.monotonic()
    with pytest.raises(WorkerError, match=message):
        Process("far", interpreter(line), SIDE, {}, timeout=0.5 if "sleep" in line else 60)
    assert time.monotonic() - started < 30
    assert not list(scratch.iterdir())


def test_an_interpreter_that_is_none(tmp_path, scratch):
    (tmp_path / "python").write_text("no program")
    with pytest.raises(WorkerError, match=r"the far worker cannot be started: .*Permission denied"):
        Process("far", tmp_path / "python", SIDE, {})
    assert not list(scratch.iterdir())


def test_the_step_of_the_start_that_hangs_is_named(far):
    (far["far"] / "side.py").write_text("import time\ntime.sleep(300)\n")
    with pytest.raises(WorkerError, match="the far worker did not import our packages within 3 s"):
        Process(
            "far", OURS, SIDE, {}, packages=far, timeout=3
        )  # until then it needs the standard library alone
    (far["far"] / "side.py").write_text("import time\ndef serve(incoming, outgoing):\n    time.sleep(300)\n")
    with pytest.raises(WorkerError, match="the far worker did not import its packages within 8 s"):
        Process("far", OURS, SIDE, {}, packages=far, timeout=8)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("garbage", "cannot be understood on a case: b'and now ' came where a message should begin"),
        ("huge", "cannot be understood on a case: a message of 1152921504606846976 and"),
        ("no JSON", "cannot be understood on a case: a message cannot be read: JSONDecodeError"),
        ("no tensors", "cannot be understood on a case: a message cannot be read: SafetensorError"),
        ("no status", "cannot be understood on a case: a message has no status"),
        ("death", "the far worker died on a case: not enough memory"),
        ("half", "died on a case: it said nothing and ended with status 0"),
    ],
)
def test_an_answer_that_is_none(far, scratch, alive: Alive, how, message):
    with Process("far", OURS, SIDE, {"how": how}, packages=far) as worker:
        with pytest.raises(WorkerError, match=message):
            worker.ask({}, {"x": torch.ones(3)}, about="a case")
        with pytest.raises(WorkerError, match="on a case"):  # and every further request ends so
            worker.ask({}, about="another")
        assert len(list(scratch.iterdir())) == 1
    assert not alive(worker._process.pid)
    assert not list(scratch.iterdir())


def test_a_running_request_is_told_every_now_and_then(far, alive: Alive, scratch, capfd, monkeypatch):
    monkeypatch.setattr(process, "EVERY", 0.25)
    with Process("far", OURS, SIDE, {"how": "hang"}, packages=far) as worker:
        # It neither answers nor reads: what is sent is more than a pipe holds.
        closing = Timer(4.0, worker.close)
        closing.start()
        with pytest.raises(WorkerError, match="died on Block/case"):
            worker.ask({}, {"x": torch.ones(200_000)}, about="Block/case")
        closing.join()  # the process has ended before its folder is removed
    told = capfd.readouterr().err.splitlines()
    for waited in ("0.25", "0.5", "0.75", "1"):
        assert f"still waiting for far: Block/case ({waited} s)" in told
    assert not alive(worker._process.pid)
    assert not list(scratch.iterdir())


def test_a_process_behind_a_process_is_ended_too(interpreter, far, tmp_path, alive: Alive):
    python = interpreter('"$PYTHON" "$@"; true')
    arguments = {"how": "hang", "pids": str(tmp_path / "pids")}
    worker = Process("far", python, SIDE, arguments, packages=far)
    mine, parent = map(int, (tmp_path / "pids").read_text().split())
    assert (alive(mine), parent) == (True, worker._process.pid)
    worker._begin()  # as in the middle of an answer
    worker.close()
    wait_for(lambda: not alive(mine) and not alive(parent))


def test_what_was_interrupted_is_not_asked_again(far, monkeypatch):
    """The late answer to one request would be taken for that to the next."""
    with Process("far", OURS, SIDE, {"how": "hang"}, packages=far) as worker:
        monkeypatch.setattr(worker, "_next", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            worker.ask({}, about="one")
        with pytest.raises(WorkerError, match="was interrupted in an earlier answer"):
            worker.ask({}, about="two")


def _interrupt(about: str, patience: object = None) -> None:
    raise KeyboardInterrupt


def test_what_comes_before_the_end_of_a_stream_counts(far):
    with Process("far", OURS, SIDE, {"how": "stream"}, packages=far) as worker:
        rows = worker.stream("its rows")
        assert [next(rows), next(rows)] == [{"status": "ok"}] * 2
        with pytest.raises(WorkerError, match="died on its rows: it said nothing and ended with status 3"):
            next(rows)


def test_a_client_says_what_its_reference_lacks():
    words = "the strange worker cannot import its packages: ModuleNotFound"
    for package, kind in (("no-such-package", NotInstalledError), ("torch", WorkerError)):
        with pytest.raises(WorkerError, match=words) as raised:
            Client(Reference("strange", "parity.no_such_module", ("torch", package)), OURS, timeout=600)
        assert type(raised.value) is kind


def test_messages_arrive_as_they_were_sent():
    pipe = io.BytesIO()
    protocol.send(pipe, {"status": "ok"}, {"b": torch.ones(2), "a": torch.zeros(1)})
    pipe.seek(0)
    header, tensors = protocol.receive(pipe)
    assert header == {"status": "ok"}
    assert list(tensors) == ["b", "a"]
    with pytest.raises(EOFError):
        protocol.receive(pipe)


def test_a_message_that_is_too_long_is_not_sent(monkeypatch):
    monkeypatch.setattr(protocol, "LONGEST_HEADER", 10)
    pipe = io.BytesIO()
    with pytest.raises(WorkerError, match="at most 10"):
        protocol.send(pipe, {"status": "much too long"})
    assert pipe.getvalue() == b""


@pytest.fixture
def packages(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "outer/inner").mkdir(parents=True)
    (tmp_path / "outer/__init__.py").write_text("raise RuntimeError('the parent was imported')")
    (tmp_path / "outer/other.py").touch()
    (tmp_path / "outer/inner/__init__.py").write_text("from outer.inner.value import VALUE")
    (tmp_path / "outer/inner/value.py").write_text("VALUE = 7")
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "outer"]:
        del sys.modules[name]


def test_a_part_of_a_package_is_registered_without_the_rest(packages):
    boot.register({"outer.inner": str(packages / "outer/inner")})
    import outer.inner

    assert outer.inner.VALUE == 7
    with pytest.raises(ModuleNotFoundError):
        import outer.other


def test_numerics_are_registered_unless_samblocks_is(tmp_path, monkeypatch):
    monkeypatch.setattr("parity.package.ROOT", tmp_path)
    assert process._folders({})["samblocks.numerics"] == str(tmp_path / "samblocks/numerics")
    assert list(process._folders({"samblocks": tmp_path / "samblocks"})) == ["parity", "samblocks"]


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
