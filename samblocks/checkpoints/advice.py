"""What to do about a file that does not fit: only what leaves no weight that matters at its initial values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from samblocks.checkpoints.component_selection import is_component
from samblocks.checkpoints.report import LoadReport
from samblocks.layouts import Detection, table
from samblocks.layouts.scope import beside_part
from samblocks.variants import VARIANTS

_ADAPTERS: Final = re.compile(
    r"(?:^|[._])(?:lora|loha|lokr|hada|ia3|dora|oft)(?:[._A-Z]|$)"
    r"|(?:^|\.)base_layer\.|(?:^|\.)modules_to_save\.|(?:^|\.)w_[ab](?:s?\.|_)|(?:^|\.)linear_[ab]_[qkv]\."
    r"|adapter|prompt_generator",
    re.IGNORECASE,
)
"""How peft, SAMed, micro-sam and others name low-rank factors and adapter layers, and what they wrap."""

_MINOR: Final = re.compile(r"(?:.*\.)?(?:bias|num_batches_tracked)")


def merge_first(names: Iterable[str]) -> str:
    """What to do about factors of LoRA and layers of adapters; empty where there are none among the names.

    >>> merge_first(["mask_decoder.hf_token.weight"])
    ''
    >>> merge_first(["image_encoder.blocks.0.attn.qkv.lora_A.default.weight"])
    '1 of its tensors are of LoRA or of an adapter (…attn.qkv.lora_A.default.weight): merge first, then save'
    """
    found = [name for name in names if _ADAPTERS.search(name)]
    if not found:
        return ""
    words = found[0].split(".")
    first = found[0] if len(words) < 6 else "…" + ".".join(words[-5:])
    return f"{len(found)} of its tensors are of LoRA or of an adapter ({first}): merge first, then save"


def what_to_do(report: LoadReport, found: Detection) -> str:
    """The next step for a file that does not fit; empty where the problems say it themselves.

    Args:
        report: the explained file.
        found: what it was recognised as.
    """
    if report.misshapen and all(gap.why.startswith("it fits with") for gap in report.misshapen):
        return ""
    if merge := merge_first(row.name for row in report.rows):
        return merge
    row = VARIANTS[report.variant]
    told = report.component is None and row in found.rows
    parts = whole_parts([entry.name for entry in report.rows], found) if told else ()
    loadable = " or ".join(f"component={part!r}" for part in parts)
    gaps = (*report.missing, *report.misshapen)
    if all(_MINOR.fullmatch(gap.name) for gap in gaps):
        return 'strict="explain" loads what fits and returns the report'
    if loadable:
        return f"what is whole loads with {loadable}"
    return "a whole checkpoint can give what is missing (samblocks convert --base)" if report.missing else ""


def whole_parts(names: Iterable[str], found: Detection) -> tuple[str, ...]:
    """The parts of the model that a file holds whole, with nothing unknown in them.

    Args:
        names: all names in the file.
        found: what it was recognised as.
    """
    row, rules = found.rows[0], table(found.layout, found.rows[0])
    unknown = set(found.unexpected) & set(names)
    return tuple(
        part
        for part in found.intact
        if is_component(part, row)
        and len(beside_part(unknown, found.reading, rules, row, part)) == len(unknown)
    )
