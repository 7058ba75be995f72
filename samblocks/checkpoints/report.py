"""What a checkpoint file is and what becomes of each of its tensors, as plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from samblocks.checkpoints.read import Ignored

STATUSES: Final = ("used", "renamed", "packed", "converted", "dropped", "unexplained")
"""What can become of a tensor; each has exactly one."""

SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class Row:
    """One tensor of a file.

    Args:
        name: as in the file.
        shape: as in the file.
        dtype: as in the file, by safetensors' name.
        nbytes: of its elements.
        status: one of `STATUSES`.
        targets: the names in the model that it becomes, or becomes part of.
        op: what is done to its values; empty where nothing is.
        why: the reason where it is dropped or unexplained.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    status: str
    targets: tuple[str, ...] = ()
    op: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """A setting of the model, with the value taken and where it came from."""

    name: str
    value: object
    origin: str


@dataclass(frozen=True, slots=True)
class Gap:
    """A tensor of the model that the file does not give as it is needed.

    Args:
        name: in the model.
        shape: that the model has.
        found: the shape that the file has; None where it has no such tensor.
        why: what is done or could be done about it.
    """

    name: str
    shape: tuple[int, ...]
    found: tuple[int, ...] | None = None
    why: str = ""


@dataclass(frozen=True)
class LoadReport:
    """An explained checkpoint file.

    Args:
        path: the file.
        container: `"safetensors"`, `"torch"` or `"torch (before 1.6)"`.
        file_bytes: size of the file.
        envelope: key under which the state dict lies; empty where the file is flat.
        prefix: what stands in front of the layout's names.
        layout: one of `samblocks.layouts.LAYOUTS`.
        model_class: the class of transformers that writes such files, where one can be told.
        candidates: the variants that the tensors fit.
        variant: the one that the report is about.
        component: the part of the model that the report is about; None for all of it.
        evidence: what led to layout and candidates.
        dtypes: number of tensors by dtype.
        parameters: trained numbers among the tensors that are taken; a tied matrix counts once.
        rows: every tensor of the state dict, in the file's order.
        missing: tensors of the model that nothing in the file becomes.
        misshapen: tensors whose shape is not the model's.
        resized: tensors that were brought to another size, with the policy.
        invented: tensors of the model that no file of this layout holds, with what is put there.
        ignored: what lies beside the state dict.
        stored_bytes: bytes of the file that the rows' tensors take; less than their sum if some are shared.
        facts: settings that the weights cannot tell.
        metadata: a safetensors file's own texts.
        sha256: of the file, where it was asked for.
        locked_as: names in checkpoints.lock of the file that this is.
        locked_by: what that rests on: `"sha256"`, or `"size and tensors"` where the hash was not computed.
    """

    path: Path
    container: str
    file_bytes: int
    envelope: str
    prefix: str
    layout: str
    model_class: str | None
    candidates: tuple[str, ...]
    variant: str
    component: str | None
    evidence: tuple[str, ...]
    dtypes: Mapping[str, int]
    parameters: int
    rows: tuple[Row, ...] = field(repr=False)
    missing: tuple[Gap, ...]
    misshapen: tuple[Gap, ...]
    resized: tuple[Gap, ...]
    invented: tuple[Gap, ...]
    ignored: tuple[Ignored, ...]
    stored_bytes: int
    facts: tuple[Fact, ...] = field(repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict)
    sha256: str | None = None
    locked_as: tuple[str, ...] = ()
    locked_by: str = ""

    @property
    def tensor_bytes(self) -> int:
        """Bytes of all tensors of the state dict."""
        return sum(row.nbytes for row in self.rows)

    @property
    def totals(self) -> dict[str, tuple[int, int]]:
        """Number and bytes of the tensors by status, in the order of `STATUSES`; they add up to all of them."""
        found = dict.fromkeys(STATUSES, (0, 0))
        for row in self.rows:
            count, nbytes = found[row.status]
            found[row.status] = (count + 1, nbytes + row.nbytes)
        return found

    @property
    def unexplained(self) -> tuple[Row, ...]:
        """The tensors that nothing is known about."""
        return tuple(row for row in self.rows if row.status == "unexplained")

    @property
    def complete(self) -> bool:
        """Whether every tensor of the file is explained and every one of the model is filled."""
        return not (self.unexplained or self.missing or self.misshapen)

    def to_json(self) -> str:
        """The whole report as JSON."""
        data: dict[str, Any] = {"schema": SCHEMA, **asdict(self)}
        data["path"] = str(self.path)
        data |= {"tensors": len(self.rows), "tensor_bytes": self.tensor_bytes, "complete": self.complete}
        data["totals"] = {status: {"tensors": n, "bytes": b} for status, (n, b) in self.totals.items()}
        return json.dumps(data, indent=1)

    def __str__(self) -> str:
        from samblocks.checkpoints.report_text import as_text

        return as_text(self)
