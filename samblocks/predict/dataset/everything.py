"""All masks of each picture of a data set, in parquet files: one row a picture, masks in COCO's run-length encoding."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from samblocks.files import write_atomically
from samblocks.predict.dataset.ahead import ahead
from samblocks.predict.dataset.embed import Done, Progress
from samblocks.predict.dataset.embedding_files import alone_in
from samblocks.predict.dataset.sources import Source
from samblocks.predict.dataset.unread import Unread
from samblocks.predict.drivers import driver_of
from samblocks.predict.embeddings import hash_of_picture, hash_of_text, hash_of_weights
from samblocks.predict.generator import MaskGenerator

_FILE: Final = re.compile(r"masks-(\d{8})\.parquet")
_BINDING: Final = b"samblocks masks 1"


def segment_everything(
    generator: MaskGenerator,
    source: Source,
    folder: Path,
    *,
    rows: int = 64,
    workers: int = 2,
    progress: Progress | None = None,
) -> Done:
    """Find all masks of all pictures of a source that are not in a folder yet, and write them there.

    Columns are `key`, `sha256` of the pixels, `height`, `width`, and `masks`: a list of records as the generator gives
    them, with "segmentation" as COCO's compressed encoding. What a run does not finish the next one does; see
    `samblocks.predict.dataset.embed.embed`.

    Args:
        generator: with output_mode="coco_rle".
        source: of `open_source`.
        folder: new, or one to go on with.
        rows: how many pictures are in a file.
        workers: how many threads read pictures.
        progress: called with how many pictures are done, and how many there are to do in this run.

    Returns:
        How many were done, and what could not be read.

    Raises:
        ValueError: the generator gives something else, the folder holds masks of other weights or settings, another
            process writes there, or a number is below 1.
        ImportError: PyArrow is missing.
        OSError: something cannot be written.
    """
    if generator.output_mode != "coco_rle":
        raise ValueError(f"generator has output_mode={generator.output_mode!r}; it must be 'coco_rle'")
    for name, value in (("rows", rows), ("workers", workers)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    needs_pyarrow()
    with alone_in(folder):
        writer = MaskWriter(folder, binding_of(generator))
        todo = [item for item in source.items if item.key not in writer.done]
        before, now, unread, held = len(writer.done), 0, Unread(folder), list[dict[str, Any]]()
        reading = ahead(todo, source.read, unread, workers=workers, depth=2 * workers)
        try:
            for item, pixels in reading:
                records = generator.generate(pixels)
                height, width = pixels.shape[:2]
                held.append(
                    {
                        "key": item.key,
                        "sha256": hash_of_picture(pixels),
                        "height": height,
                        "width": width,
                        "masks": [_row(record) for record in records],
                    }
                )
                now += 1
                if len(held) >= rows:
                    writer.write(held)
                    held = []
                if progress is not None:
                    progress(now + len(unread.reasons), len(todo))
        finally:
            reading.close()
            writer.write(held)
            unread.save()
    return Done(before, now, unread.reasons)


def binding_of(generator: MaskGenerator) -> dict[str, Any]:
    """What masks depend on beside the picture: hashes of weights and preprocessing, and the generator's settings."""
    model = generator.predictor.model
    driver = driver_of(model)
    settings = {
        name: value
        for name, value in vars(generator).items()
        if isinstance(value, int | float | str | None)
        and not name.startswith("_")
        and name != "points_per_batch"
    }
    grids = json.dumps([grid.tolist() for grid in generator.point_grids])
    return {
        "weights": hash_of_weights(model, ("",), driver.image_size),
        "preprocessing": hash_of_text(driver.preprocessing),
        "settings": settings | {"point_grids": hash_of_text(grids)},
    }


class MaskWriter:
    """Adds parquet files to a folder, old or new.

    Args:
        folder: it is made where it is missing.
        binding: of `binding_of`; masks with another one do not belong into the folder.

    Raises:
        ValueError: the folder holds masks with another binding, or a damaged file.

    Attributes:
        done: keys of the pictures whose masks are there.
    """

    def __init__(self, folder: Path, binding: Mapping[str, Any]) -> None:
        self._arrow, self._parquet = _pyarrow("pyarrow"), _pyarrow("pyarrow.parquet")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._binding = folder, json.dumps(binding, sort_keys=True).encode()
        self.done: set[str] = set()
        self._next = 0
        for name in sorted(os.listdir(folder)):
            if matched := _FILE.fullmatch(name):
                self.done.update(self._keys(folder / name))
                self._next = int(matched[1]) + 1

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write a file, if there are rows."""
        rows = list(rows)
        if not rows:
            return
        schema = _schema(self._arrow).with_metadata({_BINDING: self._binding})
        table = self._arrow.Table.from_pylist(rows, schema=schema)
        with write_atomically(self.folder / f"masks-{self._next:08d}.parquet") as stream:
            self._parquet.write_table(table, stream)
        self.done.update(row["key"] for row in rows)
        self._next += 1

    def _keys(self, file: Path) -> list[str]:
        try:
            with self._parquet.ParquetFile(file) as opened:
                said = (opened.schema_arrow.metadata or {}).get(_BINDING)
                keys: list[str] = opened.read(columns=["key"])["key"].to_pylist()
        except (self._arrow.ArrowException, KeyError) as error:
            raise ValueError(f"{file} is damaged: delete it, and run it again ({error})") from None
        if said != self._binding:
            raise ValueError(f"{file} holds masks of other weights or other settings: name another folder")
        return keys


def _row(record: Mapping[str, Any]) -> dict[str, Any]:
    numbers = ("bbox", "crop_box")
    return {
        **record,
        **{name: [float(side) for side in record[name]] for name in numbers},
        "point_coords": [[float(side) for side in point] for point in record["point_coords"]],
    }


def _schema(arrow: Any) -> Any:
    real, reals = arrow.float64(), arrow.list_(arrow.float64())
    encoding = arrow.struct([("size", arrow.list_(arrow.int64())), ("counts", arrow.string())])
    mask = arrow.struct(
        [
            ("segmentation", encoding),
            ("area", arrow.int64()),
            ("bbox", reals),
            ("predicted_iou", real),
            ("point_coords", arrow.list_(reals)),
            ("stability_score", real),
            ("crop_box", reals),
        ]
    )
    columns = [
        ("key", arrow.string()),
        ("sha256", arrow.string()),
        ("height", arrow.int64()),
        ("width", arrow.int64()),
    ]
    return arrow.schema([*columns, ("masks", arrow.list_(mask))])


def needs_pyarrow() -> None:
    """Raise ImportError, with what to install, where PyArrow is missing."""
    _pyarrow("pyarrow.parquet")


def _pyarrow(module: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise ImportError("masks of a data set need PyArrow: pip install 'samblocks[data]'") from None
