"""parity: proof, block by block, that two implementations compute the same numbers.

For other projects: `parity.check(candidate, reference, inputs)`, and the pytest fixture `parity`.

    fill        the value of a tensor follows from its name and shape alone
    lift        unmodified code in true float64
    case        what is compared: constructor arguments, inputs, one small function run on both sides
    cases/      the frozen cases, one file a family, and a sentence on what each pins
    execute     runs one case on one library in one precision
    references/ upstream packages, each in a worker process of its own environment
    compare     error against the float64 truth, and the verdict
    runner      cases × references × precisions
    goldens     upstream's outputs in files, with provenance
    checking    any two callables, not only our cases
    diverge/    the module in which two implementations part, each replayed on the other's inputs
    impact      flipped pixels, other choices: what a difference does
    report      the table for people, the JSON for machines
    html        one page for people; junit, annotations and sarif for CI
    where       from a name to its code, cases, goldens, key rules and tests

`python -m parity --help` shows the commands.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parity.checking import Result, check
    from parity.goldens import GoldenError

_HOMES = {"check": "parity.checking", "Result": "parity.checking", "GoldenError": "parity.goldens"}
__all__ = ["GoldenError", "Result", "check"]


def __getattr__(name: str) -> Any:
    # Imported when first used: the pytest plugin is loaded in every session, and torch takes a second.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'parity' has no attribute {name!r}")
