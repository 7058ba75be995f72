"""One planted bug, as data: where, which node of the syntax, what it becomes, and who makes this mistake."""

import ast
from dataclasses import dataclass

from parity.package import ROOT
from parity.selftest.mutants.syntax import Absent, find, substitute


class StaleMutant(ValueError):
    """What a mutant changes is not, or not as often as it must be, where it is looked for."""


@dataclass(frozen=True)
class Change:
    """One node of a file's syntax, and what it becomes.

    Attributes:
        where: the function that holds the node, such as `Block.forward`; a class or `<module>` for what stands
            in it and outside its functions.
        node: the source of an expression, an argument (`name=value`: a keyword of a call or a default of the
            signature) or a statement; it is compared as syntax.
        becomes: the source of what replaces it: of the same kind, or several arguments, or several statements
            with `;` between them. Empty takes a statement or an argument away.
        number: which one is meant where the node stands there more than once, from 1.
        among: how often it must stand there.
    """

    where: str
    node: str
    becomes: str
    number: int = 1
    among: int = 1


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A bug of one line or argument.

    Attributes:
        block: the block, function or model it belongs to: that one's cases must kill it.
        name: distinguishes the mutants of one block; the id is `block/name`.
        family: the kind of mistake; no family has more than five mutants.
        why: who makes this mistake, or what it does.
        file: the file, from the project's folder.
        changes: what is changed in it; mostly one node.
        cases: names of the block's cases that are tried first, where all of them would take long.
        paths: what ours does while cases run, a key of `parity.execution.paths.PATHS`: some bugs only show where
            work is cut in chunks.
        equivalent: a proof that the change cannot be seen, for mutants that survive.
    """

    block: str
    name: str
    family: str
    why: str
    file: str
    changes: tuple[Change, ...] = ()
    cases: tuple[str, ...] = ()
    paths: str = "usual"
    equivalent: str = ""

    @property
    def id(self) -> str:
        """`Block/name`, unique."""
        return f"{self.block}/{self.name}"

    @property
    def module(self) -> str:
        """The file as a module, such as `samblocks.ops.rope`."""
        return self.file.removesuffix(".py").replace("/", ".")

    def tree(self, source: str | None = None) -> ast.Module:
        """The file's syntax with the bug in it.

        Args:
            source: the text to plant it in; that of the file by default.

        Raises:
            StaleMutant: when what is to be changed is not there, or not as often as it must be.
        """
        tree = ast.parse((ROOT / self.file).read_text(encoding="utf-8") if source is None else source)
        try:
            # All are found before any is changed: what one becomes is never taken for what another looks for.
            places = [find(tree, c.where, c.node, c.number, c.among) for c in self.changes]
            for place, change in zip(places, self.changes, strict=True):
                substitute(place, change.becomes)
        except Absent as absent:
            raise StaleMutant(f"{self.id}: {self.file} {absent}") from None
        return ast.fix_missing_locations(tree)
