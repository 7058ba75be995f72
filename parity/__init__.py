"""parity: proof, block by block, that two implementations compute the same numbers.

For other projects: `parity.check(candidate, reference, inputs)`, and the pytest fixture `parity`.

Its parts, lowest first; imports only go down, and nothing imports `references`:

    verdict     error against the float64 truth, and the verdict
    execution   cases, values that follow from names, one run of one case on one library, float64 throughout
    cases       the frozen cases, one file a family, and a sentence on what each pins
    workers     processes of the references' environment, which reach the adapters by name
    diverge     the module in which two implementations part, each replayed on the other's inputs
    run         cases × references × precisions; goldens
    layouts     every layout of every variant, there and back
    bench       time and memory beside upstream's
    swap        other libraries' drivers with our blocks inside
    references  upstream packages in the terms of the reference page
    contracts   what every module must keep, whatever its numbers are
    where       from a name to its code, cases, goldens, key rules and tests
    reports     rows for people and machines
    testing     any two callables, not only our cases: for other projects
    selftest    planted bugs that must be seen, honest variations that must not
    commands    the command line

`python -m parity --help` shows the commands.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parity.errors import UsageError
    from parity.run.goldens import GoldenError
    from parity.testing.check import check
    from parity.testing.judge import Result

_HOMES = {
    "UsageError": "parity.errors",
    "check": "parity.testing.check",
    "Result": "parity.testing.judge",
    "GoldenError": "parity.run.goldens",
}
_PUBLIC = ("checking", "fill")
__all__ = ["GoldenError", "Result", "UsageError", "check"]


def __getattr__(name: str) -> Any:
    # Imported when first used: the pytest plugin is loaded in every session, and torch takes a second.
    from importlib import import_module

    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _PUBLIC:
        return import_module(f"parity.{name}")
    raise AttributeError(f"module 'parity' has no attribute {name!r}")
