"""One planted bug, as data: where, what stands there, what stands there instead, and who makes this mistake."""

from dataclasses import dataclass

from parity.package import ROOT

"""Where the files that mutants name are found."""


class StaleMutant(ValueError):
    """The text that a mutant changes is no longer in its file exactly once."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A bug of one line or argument.

    Attributes:
        block: the block, function or model it belongs to: that one's cases must kill it.
        name: distinguishes the mutants of one block; the id is `block/name`.
        family: the kind of mistake; no family has more than five mutants.
        file: the file, from the project's folder.
        old: the text that is replaced; it stands in the file exactly once, or once after `after`.
        new: what replaces it.
        why: who makes this mistake, or what it does.
        after: a text in the same file; `old` is its first occurrence behind it.
        cases: names of the block's cases that are tried first, where all of them would take long.
        chunks: whether it can only show where work is cut in chunks: cases then run in the smallest.
        equivalent: a proof that the change cannot be seen, for mutants that survive.
    """

    block: str
    name: str
    family: str
    file: str
    old: str
    new: str
    why: str
    after: str = ""
    cases: tuple[str, ...] = ()
    chunks: bool = False
    equivalent: str = ""

    @property
    def id(self) -> str:
        """`Block/name`, unique."""
        return f"{self.block}/{self.name}"

    @property
    def module(self) -> str:
        """The file as a module, such as `samblocks.ops.rope`."""
        return self.file.removesuffix(".py").replace("/", ".")

    def source(self) -> str:
        """The file's text with the bug in it.

        Raises:
            StaleMutant: when the text to be changed is not there, or more than once.
        """
        text = (ROOT / self.file).read_text(encoding="utf-8")
        start = text.find(self.after)
        if start < 0:
            raise StaleMutant(f"{self.id}: {self.file} does not hold {self.after!r} any more")
        count = text.count(self.old, start)
        if count < 1 or (count > 1 and not self.after):
            raise StaleMutant(f"{self.id}: {self.file} holds {self.old!r} {count} times, must be once")
        place = text.index(self.old, start)
        return text[:place] + self.new + text[place + len(self.old) :]
