"""What was found in a picture, in files: masks, an overlay and a description, each written whole or not at all."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from samblocks.files import write_atomically
from samblocks.predict.masks import Masks
from samblocks.predict.overlays import contact_sheet, overlay
from samblocks.predict.pictures import Pixels
from samblocks.predict.png import encode_png

Format = Literal["png", "rle", "geojson", "npz"]


def write_results(
    overlay_file: Path,
    picture: Pixels,
    masks: Masks,
    facts: Mapping[str, Any],
    *,
    format: Format,
    sheet: bool,
    taken: Collection[Path] = (),
    points: Sequence[tuple[float, float, int]] = (),
    boxes: Sequence[tuple[float, float, float, float]] = (),
) -> list[Path]:
    """Write masks, an overlay, and last a JSON file that names and describes them.

    Args:
        overlay_file: the overlay, NAME.png; all other names begin with NAME.
        picture: [H, W, 3].
        masks: of that picture.
        facts: what else the description tells.
        format: of the masks: "png", a picture for each; "rle", COCO's encoding; "geojson"; or "npz".
        sheet: also write a sheet with every mask by itself.
        taken: files, without links in their paths, that must not be written over.
        points: the clicks, see `overlay`.
        boxes: likewise.

    Returns:
        The files, in the order in which they were written.

    Raises:
        ValueError: one of them is taken; nothing is written then.
    """
    stem = overlay_file.with_suffix("")
    files = dict(_masks(stem, masks, format))
    own = [path.name for path in files]
    records = [{key: value for key, value in record.items() if key != "segmentation"} for record in masks]
    if format == "png":
        records = [{"file": name, **record} for name, record in zip(own, records, strict=True)]
    if sheet:
        files[Path(f"{stem}.sheet.png")] = encode_png(contact_sheet(picture, masks))
    files[overlay_file] = encode_png(overlay(picture, masks, points=points, boxes=boxes))
    description = {
        **facts,
        "size": list(masks.size),
        "overlay": overlay_file.name,
        "format": format,
        "files": own,
        "masks": records,
    }
    files[Path(f"{stem}.json")] = json.dumps(description, indent=1).encode() + b"\n"
    for path in files:
        if path.resolve() in taken:
            raise ValueError(
                f"{path} would be written over, which was read, or holds another picture's result: name another place"
            )
    for path, data in files.items():
        with write_atomically(path, make_folder=True) as stream:
            stream.write(data)
    return list(files)


def _masks(stem: Path, masks: Masks, format: Format) -> Iterator[tuple[Path, bytes]]:
    if format == "png":
        for number, mask in enumerate(masks.numpy(), start=1):
            yield Path(f"{stem}.mask-{number:03d}.png"), encode_png(mask.astype(np.uint8) * 255)
    elif format == "rle":
        yield Path(f"{stem}.rle.json"), json.dumps(masks.rle()).encode() + b"\n"
    elif format == "geojson":
        yield Path(f"{stem}.geojson"), json.dumps(masks.geojson()).encode() + b"\n"
    else:
        buffer = io.BytesIO()
        scores = {} if masks.scores is None else {"scores": masks.scores}
        np.savez_compressed(buffer, allow_pickle=False, masks=masks.numpy(), **scores)
        yield Path(f"{stem}.npz"), buffer.getvalue()
