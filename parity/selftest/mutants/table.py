"""Mutants as rows of a table, in plain text.

Indentation tells what a line is; one that is indented further goes on with the line above::

    DropPath in samblocks/blocks/common.py
      always_scales | drop probability | an argument that is accepted and not looked at
        DropPath.forward: keep_prob > 0.0 and self.scale_by_keep => keep_prob > 0.0

The block and the file come first; then a mutant: name, family, why, and where they are needed `cases: a, b` to
try first, a way to cut work (`chunks`, `ragged`), and `equivalent: proof`; then its changes: where, the node, with
`(1 of 2)` behind it if it is there twice, and what it becomes.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from parity.execution.paths import PATHS
from parity.selftest.mutants.mutant import Change, Mutant

_BLOCK, _MUTANT, _CHANGE = 0, 2, 4

_CHANGED = re.compile(r"(\S+): (.+?)(?: \((\d+) of (\d+)\))? => ?(.*)")


def table(text: str) -> tuple[Mutant, ...]:
    """The mutants of a table.

    Raises:
        ValueError: a line that is none of the three, or says what is not known.
    """
    found: list[Mutant] = []
    block = file = ""
    for indent, line in _lines(text):
        if indent == _BLOCK:
            block, _, file = line.partition(" in ")
        elif indent == _MUTANT:
            found.append(_mutant(block, file, line))
        else:
            found[-1] = replace(found[-1], changes=(*found[-1].changes, _change(line)))
    return tuple(found)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines with their indentation, each with what goes on with it."""
    indent, joined = _BLOCK, ""
    for line in filter(str.strip, text.splitlines()):
        own = len(line) - len(line.lstrip())
        if own > _CHANGE:
            joined += f" {line.strip()}"
            continue
        if joined:
            yield indent, joined
        indent, joined = own, line.strip()
    if joined:
        yield indent, joined


def _change(line: str) -> Change:
    found = _CHANGED.fullmatch(line)
    if found is None:
        raise ValueError(f"a change is written `where: node => what it becomes`, not {line!r}")
    where, node, number, among, becomes = found.groups("1")
    return Change(where, node, becomes, int(number), int(among))


def _mutant(block: str, file: str, head: str) -> Mutant:
    name, family, why, *notes = head.split(" | ")
    said = {key: value for key, _, value in (note.partition(": ") for note in notes)}
    if unknown := set(said) - {"cases", "equivalent", *PATHS}:
        known = ", ".join(("cases", "equivalent", *PATHS))
        raise ValueError(f"{block}/{name} notes {', '.join(sorted(unknown))}; known are {known}")
    return Mutant(
        block=block,
        name=name,
        family=family,
        why=why,
        file=file,
        cases=tuple(said["cases"].split(", ")) if "cases" in said else (),
        paths=next((way for way in PATHS if way in said), "usual"),
        equivalent=said.get("equivalent", ""),
    )
