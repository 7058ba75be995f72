"""Bugs planted in the readers of hosts' modules: a swap that was equal in every bit shows each.

What readers tell of plain attributes cannot go wrong alone: these are copied from the host afterwards.
"""

import multiprocessing
from typing import Any

import pytest
import torch
from fake_hosts import picture, pipeline

from parity.selftest.mutants.mutant import Change, Mutant
from parity.selftest.mutants.planting import plant

HOSTS = "samblocks/swap/hosts/blocks.py"


def bug(name: str, why: str, where: str, node: str, becomes: str, file: str = HOSTS) -> Mutant:
    changes = (Change(where, node, becomes),)
    return Mutant(block="swap", name=name, family="reading of hosts", why=why, file=file, changes=changes)


BUGS = (
    bug(
        "order_of_the_default",
        "what asking the host showed is thrown away: only bits differ",
        "_choose",
        "setattr(ours, attribute, choice)",
        "setattr(ours, attribute, choices[0])",
        "samblocks/swap/operation_order.py",
    ),
    bug(
        "theta_of_the_default",
        "the rotary table's base is the released models'",
        "rope_attention",
        'float(host.compute_cis.keywords["theta"])',
        "100.0",
    ),
    bug("one_row", "the grid of a rotary table is one long row", "_grid", "int(back[0]) + 1", "rows"),
    bug("a_layer_less", "off by one", "_two_way_transformer", "len(host.layers)", "len(host.layers) - 1"),
    bug(
        "tensors_of_its_own",
        "the host's tensors are not taken over",
        "_enter",
        "getattr(slot.ours, slot.kind)[slot.name] = tensor",
        "",
        "samblocks/swap/adopt.py",
    ),
)


def judged(mutant: Mutant | None, sender: Any) -> None:
    """In a process of its own: what becomes of a swap, in a word."""
    torch.set_num_threads(1)  # a fork has none of its parent's threads, and would wait for them
    try:
        if mutant is not None:
            plant(mutant)
        from samblocks import plain_paths, swap_blocks

        report = swap_blocks(pipeline(), trust="names")
        with plain_paths():
            sender.send(f"{report.verify(picture()).verdict}, {len(report.kept)} kept")
    except Exception as error:
        sender.send(f"{type(error).__name__}: {error}")


def verdict(mutant: Mutant | None) -> str:
    context: Any = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=judged, args=(mutant, sender))
    process.start()
    sender.close()
    try:
        return str(receiver.recv())
    finally:
        process.join()


def test_without_a_bug_every_bit_is_equal() -> None:
    assert verdict(None) == "EXACT, 0 kept"


@pytest.mark.parametrize("mutant", BUGS, ids=[mutant.name for mutant in BUGS])
def test_a_bug_in_reading_a_host_is_seen(mutant: Mutant) -> None:
    found = verdict(mutant)
    assert found != "EXACT, 0 kept"
    assert "StaleMutant" not in found, found
