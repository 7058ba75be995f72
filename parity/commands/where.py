"""`parity where NAME`: where a block is defined, what pins it, and what it is the counterpart of."""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator

from torch import nn

from parity.where import where
from parity.where.key_rules import places_of, rules_of

HELP = "definition, cases, goldens, key rules and tests of a block"

_MOST = 12


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", metavar="NAME", help="a block, model or function, or the id of a case")
    parser.add_argument("--all", action="store_true", help="leave nothing out of long lists")


def run(options: argparse.Namespace) -> int:
    """Print everything that is known of a name."""
    subject = where.find(options.name)
    most = None if options.all else _MOST
    print(f"{subject.name}: {subject.summary}")
    _section("defined in", [str(subject.place)], most)
    _section("upstream", subject.upstream, most)
    _section("cases", _cases(subject), most)
    _section("goldens", where.goldens_of(subject.cases), most)
    if isinstance(subject.member, type) and issubclass(subject.member, nn.Module):
        places = places_of(subject.member)
        _section(
            "in the models",
            [f"{v}: {', '.join(p or 'all of it' for p in ps)}" for v, ps in places.items()],
            most,
        )
        _section("key rules", _rules(subject.member), most)
    _section("planted bugs", _mutants(subject.name), most)
    _section("tests", [str(place) for place in where.tests_of(subject.name)], most)
    return 0


def _section(title: str, lines: Iterable[str], most: int | None) -> None:
    found = list(lines)
    shown = found if most is None or len(found) <= most + 1 else found[:most]
    count = f" ({len(found)})" if len(found) > 1 else ""
    print(f"\n{title}{count}")
    for line in shown or ["none"]:
        print(f"  {line}")
    if len(shown) < len(found):
        print(f"  … {len(found) - len(shown)} more: --all")


def _cases(subject: where.Subject) -> Iterator[str]:
    for case in subject.cases:
        place = where.location(case.id)
        yield f"{case.id}: {case.why}" + (f"  [{place}]" if place is not None else "")


def _rules(member: type[nn.Module]) -> Iterator[str]:
    without: Counter[tuple[str, str]] = Counter()
    for rule in rules_of(member):
        if not rule.other:
            without[f"{rule.layout}, {rule.variant}", rule.what] += 1
            continue
        what = f"  ({rule.what})" if rule.what else ""
        yield f"{rule.layout}, {rule.variant}: {' + '.join(rule.meta)} <-> {' + '.join(rule.other)}{what}"
    for (layout, why), count in without.items():
        yield f"{layout}: {count} names have no place there: {why}"


def _mutants(name: str) -> Iterator[str]:
    from parity.selftest.mutants.catalog import ALL

    for mutant in ALL:
        if mutant.block == name:
            yield f"{mutant.id}: {mutant.why}"
