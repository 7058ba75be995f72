"""The image encoder over a data set on several machines, by Ray Data.

The pictures are dealt out as shards whose numbers are given before anybody starts. A worker that dies leaves no half
shard, Ray deals its shard out again, and whatever is written twice is the same file.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from samblocks.predict.dataset.ahead import ahead
from samblocks.predict.dataset.embed import Done, Encoder, Progress, in_batches
from samblocks.predict.dataset.embedding_files import EmbeddingFiles, EmbeddingWriter, alone_in
from samblocks.predict.dataset.sources import Item, Source
from samblocks.predict.dataset.unread import Unread


def embed_on_ray(
    model: Callable[[], Any],
    source: Source,
    folder: Path,
    *,
    workers: int = 2,
    batch: int = 4,
    shard: int = 16,
    gpus: float = 0,
    progress: Progress | None = None,
    seen: Callable[[dict[str, Any]], None] | None = None,
) -> Done:
    """Do what `samblocks.predict.dataset.embed.embed` does, on Ray's cluster.

    Ray is started on this machine unless it is connected already (`ray.init`, `RAY_ADDRESS`). The pictures and the
    folder must be at the same path on all machines.

    Args:
        model: makes the model; called here, and once by each worker.
        source: of `open_source`.
        folder: new, or one to go on with.
        workers: how many processes encode, each with a model of its own.
        batch: how many pictures are encoded in one pass.
        shard: how many pictures are in a file.
        gpus: how much of a GPU each worker takes.
        progress: called with how many pictures are done, and how many there are to do in this run.
        seen: called with what each worker says of a shard: "number", "pictures", "unread", and its "process".

    Returns:
        How many were done, and what could not be read.

    Raises:
        ImportError: Ray is missing.
        ValueError: as for `embed`.
    """
    ray = _ray()
    encoder = Encoder(model())
    with alone_in(folder):
        writer = EmbeddingWriter(folder, encoder.weights, encoder.preprocessing)
        before, now, unread = len(writer.done), 0, Unread(folder)
        todo = [item for item in source.items if item.key not in writer.done]
        shards = [
            {"number": writer.next + i, "items": [(item.key, item.file, item.at) for item in items]}
            for i, items in enumerate(in_batches(todo, shard))
        ]
        if shards:
            workers = min(workers, len(shards))
            results = ray.data.from_items(shards, override_num_blocks=len(shards)).map(
                ShardEncoder,
                fn_constructor_args=(
                    model,
                    source,
                    str(folder),
                    batch,
                    encoder.weights,
                    encoder.preprocessing,
                ),
                compute=ray.data.ActorPoolStrategy(size=workers),
                num_cpus=1,
                num_gpus=gpus or None,
            )
            try:
                for row in results.iter_rows():
                    now += row["pictures"]
                    unread.reasons.update(dict(row["unread"]))
                    if seen is not None:
                        seen(row)
                    if progress is not None:
                        progress(now + len(unread.reasons), len(todo))
            finally:
                unread.save()
                EmbeddingFiles.save_index(folder)
        else:
            unread.save()
            EmbeddingFiles.save_index(folder)
    return Done(before, now, unread.reasons)


class ShardEncoder:
    """A worker: holds a model, and makes a shard of the pictures that it is given.

    Args:
        model: makes the model.
        source: what reads the pictures.
        folder: where shards go.
        batch: how many pictures are encoded in one pass.
        weights: the hash that the model must have here, too.
        preprocessing: the same.

    Raises:
        ValueError: the model here is another one.
    """

    def __init__(
        self,
        model: Callable[[], Any],
        source: Source,
        folder: str,
        batch: int,
        weights: str,
        preprocessing: str,
    ) -> None:
        self._encoder = Encoder(model())
        if (self._encoder.weights, self._encoder.preprocessing) != (weights, preprocessing):
            raise ValueError("this worker has another model than the process that started it")
        self._source, self._folder, self._batch = source, Path(folder), batch

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Make a shard."""
        items = [
            Item(key, file, None if at is None else (int(at[0]), int(at[1])))
            for key, file, at in row["items"]
        ]
        unread = Unread(self._folder)
        reading = ahead(items, self._encoder.reader(self._source), unread, depth=2 * self._batch)
        parts = [self._encoder.encode(group) for group in in_batches(reading, self._batch)]
        EmbeddingWriter.write_shard(self._folder, row["number"], parts)
        pictures = sum(len(part.keys) for part in parts)
        reasons = [list(pair) for pair in unread.reasons.items()]
        return {"number": row["number"], "pictures": pictures, "unread": reasons, "process": os.getpid()}


def _ray() -> Any:
    """The module `ray` with `ray.data`, or ImportError that says how to get it."""
    try:
        import_module("ray.data")
        return import_module("ray")
    except ModuleNotFoundError:
        raise ImportError("several machines need Ray: pip install 'samblocks[ray]'") from None
