"""Personalities: what chooses a processor's kernels reaches a process, and what cannot be had says why."""

import argparse
import subprocess
import sys

import pytest
import torch

from parity.commands.processors import chosen, parts
from parity.execution.personalities import PERSONALITIES, THREADS, Personality, threads, usual
from samblocks.ops.processor_cache import SAID_BY_USER

BY_NAME = {one.name: one for one in PERSONALITIES}


def test_there_are_at_least_six_and_all_old_at_once() -> None:
    assert len(PERSONALITIES) >= 6
    assert set(BY_NAME["all-old"].variables) == {"ATEN_CPU_CAPABILITY", "MKL_CBWR", "ONEDNN_MAX_CPU_ISA"}


@pytest.mark.skipif(bool(BY_NAME["aten-default"].why_not()), reason=BY_NAME["aten-default"].why_not())
def test_the_variables_choose_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in BY_NAME["aten-default"].variables.items():
        monkeypatch.setenv(name, value)
    program = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("DEFAULT", "NO AVX")


def test_a_cache_chooses_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert BY_NAME["cache-8"].variables == {SAID_BY_USER: "8"}
    program = "from samblocks.ops.chunking import USUAL; print(USUAL.chunk >> 20)"
    for name, chunk in (("cache-8", "2"), ("cache-256", "8")):
        monkeypatch.setenv(SAID_BY_USER, BY_NAME[name].variables[SAID_BY_USER])
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == chunk


def test_what_cannot_be_had_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parity.execution.personalities.platform.machine", lambda: "aarch64")
    assert "aarch64" in BY_NAME["mkl-compatible"].why_not()
    assert BY_NAME["threads-2"].why_not() == ""
    monkeypatch.setattr("parity.execution.personalities.platform.machine", lambda: "x86_64")
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    assert "no MKL" in BY_NAME["all-old"].why_not()


def test_threads_are_as_usual_or_as_a_personality_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(THREADS, raising=False)
    assert threads(5) == 5
    monkeypatch.setenv(THREADS, "3")
    assert threads(5) == 3


def test_all_variables_can_be_undone() -> None:
    assert usual() == dict.fromkeys(
        ["ATEN_CPU_CAPABILITY", "MKL_CBWR", "ONEDNN_MAX_CPU_ISA", THREADS, SAID_BY_USER], ""
    )


def test_each_is_run_live_and_the_sides_also_differ() -> None:
    found = [(part.personality, part.what) for part in parts(PERSONALITIES, live=True)]
    assert len(found) == 2 * len(PERSONALITIES) + 2
    assert found[-2:] == [("all-old / usual", "live run"), ("usual / all-old", "live run")]
    assert {part.what for part in parts(PERSONALITIES, live=False)} == {"tests"}


def test_float64_is_asked_live_under_one_of_them() -> None:
    live = [part for part in parts(PERSONALITIES, live=True) if part.what == "live run"]
    assert [part.personality for part in live if "--dtype" not in part.command] == ["all-old"]


def test_successive_turns_take_all_but_the_one_that_tests_have_anyway() -> None:
    taken = [one.name for turn in range(5) for one in chosen(argparse.Namespace(turn=turn, only=None))]
    assert taken == [one.name for one in PERSONALITIES if one.name != "threads-1"]


def test_a_part_that_cannot_run_keeps_its_reason() -> None:
    missing = Personality("none", {}, "aten")
    object.__setattr__(missing, "why_not", lambda: "it is not here")
    assert {part.why_not for part in parts([missing], live=True)} == {"it is not here"}
