"""The image encoder over a data set: batches, with the next pictures being read meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from samblocks.predict.dataset.ahead import ahead
from samblocks.predict.dataset.embedding_files import EmbeddingFiles, EmbeddingWriter, alone_in
from samblocks.predict.dataset.sources import Item, Source
from samblocks.predict.dataset.unread import Unread
from samblocks.predict.drivers import driver_of
from samblocks.predict.embeddings import Embedding, hash_of_picture, hash_of_text, hash_of_weights, named
from samblocks.predict.transforms import Size

Progress = Callable[[int, int], None]
"""Called with how many pictures are done, and how many there are to do in this run."""


T = TypeVar("T")


@dataclass(frozen=True)
class Done:
    """What a run over a data set came to.

    Attributes:
        before: pictures that were done before.
        now: pictures that were done in this run.
        unread: those that could not be read, with the reason.
    """

    before: int
    now: int
    unread: dict[str, str]


@dataclass(frozen=True)
class Prepared:
    """A picture that is ready for the image encoder.

    Attributes:
        image: [1, 3, S, S].
        inside: height and width that the picture takes up in it.
        original: its own height and width.
        digest: the hash of its pixels.
    """

    image: Tensor
    inside: Size
    original: Size
    digest: str


class Encoder:
    """A model's image encoder, and what its results are bound to.

    Args:
        model: a SAM, MobileSAM or SAM 2, ours or Meta's.

    Raises:
        ValueError: it is none of these.
    """

    def __init__(self, model: nn.Module) -> None:
        self._driver = driver_of(model)
        self.weights = hash_of_weights(model, self._driver.encoding, self._driver.image_size)
        self.preprocessing = hash_of_text(self._driver.preprocessing)

    def reader(self, source: Source) -> Callable[[Item], Prepared]:
        """The function that reads and prepares a picture of a source."""

        def read(item: Item) -> Prepared:
            pixels = source.read(item)
            with torch.no_grad():
                image, inside = self._driver.prepare([pixels])
            return Prepared(image, inside[0], (pixels.shape[0], pixels.shape[1]), hash_of_picture(pixels))

        return read

    def encode(self, pictures: Sequence[tuple[Item, Prepared]]) -> Embedding:
        """Encode pictures in one pass, and bring the result to the processor's memory."""
        items, prepared = zip(*pictures, strict=True)
        with torch.no_grad():
            features = named(self._driver.encode(torch.cat([one.image for one in prepared])))
        return Embedding(
            {name: value.cpu() for name, value in features.items()},
            self.weights,
            self.preprocessing,
            tuple(one.digest for one in prepared),
            tuple(one.original for one in prepared),
            tuple(one.inside for one in prepared),
            True,
            tuple(item.key for item in items),
        )


def embed(
    model: nn.Module,
    source: Source,
    folder: Path,
    *,
    batch: int = 4,
    shard: int = 16,
    workers: int = 2,
    progress: Progress | None = None,
) -> Done:
    """Encode all pictures of a source that are not in a folder yet, and write their embeddings there.

    A shard is written when it is full, and what there is of one when the run ends, whyever it does; whoever is killed
    loses at most the shard that was being filled, which the next run makes again.

    Args:
        model: a SAM, MobileSAM or SAM 2, ours or Meta's.
        source: of `open_source`.
        folder: what `EmbeddingFiles` reads afterwards; new, or one to go on with.
        batch: how many pictures are encoded in one pass.
        shard: how many pictures are in a file.
        workers: how many threads read pictures.
        progress: see `Progress`.

    Returns:
        How many were done, and what could not be read.

    Raises:
        ValueError: the folder holds what does not belong to these weights or this preprocessing, another process
            writes there, or a number is below 1.
        OSError: something cannot be written.
    """
    for name, value in (("batch", batch), ("shard", shard), ("workers", workers)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    encoder = Encoder(model)
    with alone_in(folder):
        writer = EmbeddingWriter(folder, encoder.weights, encoder.preprocessing)
        before = len(writer.done)
        todo = [item for item in source.items if item.key not in writer.done]
        unread, parts, held, now = Unread(folder), list[Embedding](), 0, 0
        reading = ahead(todo, encoder.reader(source), unread, workers=workers, depth=2 * batch + workers)
        try:
            for group in in_batches(reading, batch):
                parts.append(encoder.encode(group))
                held += len(group)
                if held >= shard:
                    writer.write(parts)
                    parts, held = [], 0
                now += len(group)
                if progress is not None:
                    progress(now + len(unread.reasons), len(todo))
        finally:
            reading.close()
            writer.write(parts)
            unread.save()
            EmbeddingFiles.save_index(folder)
    return Done(before, now, unread.reasons)


def in_batches(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most so many.

    >>> list(in_batches("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    rest = iter(values)
    while group := list(islice(rest, size)):
        yield group
