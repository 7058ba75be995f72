"""The rows of the bench, each described once: every library, every runtime and every report reads this table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from parity.bench import works
from parity.bench.works import Graph, Loop
from parity.errors import UsageError

GROUPS = ("encoder", "decoder", "memory", "video", "everything", "growth", "load", "import")
"""What `--only` can name beside single rows; the last two have tables of their own."""

FORWARD = GROUPS[:-2]
"""The groups that rows belong to."""


@dataclass(frozen=True)
class Row:
    """One thing that is timed.

    Attributes:
        name: what `--only` calls it.
        title: what reports call it; `{side}` is the image's side.
        group: see `GROUPS`.
        variant: whose model it is a part of.
        work: what is run.
        share: side of its image, as a share of the one that was asked for.
        family: what it is one size of; empty where it is of one size only.
        curves: along which axes the family's cost is followed, with its place on each; None stands for the side.
        judged: whether its error against float64 is told: not where the truth would take more memory than machines
            have, or longer than the whole bench.
        heavy: so large that only two contestants are held in memory at a time.
    """

    name: str
    title: str
    group: str
    variant: str
    work: Graph | Loop = field(repr=False)
    share: float = 1.0
    family: str = ""
    curves: tuple[tuple[str, int | None], ...] = ()
    judged: bool = True
    heavy: bool = False

    def side(self, size: int) -> int:
        """Its image's side in pixels, where `size` was asked for."""
        return round(self.share * size)

    def shown(self, size: int) -> str:
        """Its title."""
        return self.title.format(side=self.side(size))


_SIDE = ("image side", None)
_TINY = "sam2.1_hiera_tiny"


def _encoders() -> Iterator[Row]:
    first = Graph(works.ImageEncoder, works.image)
    second = Graph(works.ImageLevels, works.image)
    of = "image of {side}"
    yield Row("vit-b", f"ViT-B encoder, {of}", "encoder", "sam_vit_b", first, family="ViT-B", curves=(_SIDE,))
    yield Row("vit-h", f"ViT-H encoder, {of}", "encoder", "sam_vit_h", first, heavy=True)
    yield Row(
        "hiera-t",
        f"Hiera-T encoder and neck, {of}",
        "encoder",
        _TINY,
        second,
        family="Hiera-T",
        curves=(_SIDE,),
    )
    yield Row(
        "hiera-l", f"Hiera-L encoder and neck, {of}", "encoder", "sam2.1_hiera_large", second, heavy=True
    )
    yield Row("tiny-vit", f"TinyViT encoder, {of}", "encoder", "mobile_sam", first)


def _decoders() -> Iterator[Row]:
    for name, title, variant, levels in (
        ("sam", "SAM decoder", "sam_vit_b", False),
        ("sam2", "SAM 2 decoder, two fine levels", _TINY, True),
    ):
        for count in (1, 16, 64, 256):
            yield Row(
                f"{name}-decoder-{count}",
                f"{title}, {count} click{'s' * (count > 1)}",
                "decoder",
                variant,
                Graph(works.Decode, partial(works.clicks, count=count, levels=levels)),
                family=title.partition(",")[0],
                curves=(("prompts", count),),
                judged=count <= 64,
            )


def _memory() -> Iterator[Row]:
    for count in (1, 3, 7):
        yield Row(
            f"memory-attention-{count}",
            f"memory attention, {count} memor{'ies' if count > 1 else 'y'}",
            "memory",
            _TINY,
            Graph(works.Attend, partial(works.memories, count=count)),
            family="memory attention",
            curves=(("memories", count),),
        )
    yield Row(
        "memory-encoder", "memory encoder", "memory", _TINY, Graph(works.Remember, works.frame_and_mask)
    )


def _video() -> Iterator[Row]:
    for objects in (1, 4, 16):
        yield Row(
            f"video-{objects}",
            f"video step, 7 memories, {objects} object{'s' * (objects > 1)}",
            "video",
            _TINY,
            Loop(partial(works.video_step, objects=objects)),
            family="video step",
            curves=(("objects", objects),),
            judged=objects == 1,
        )


def _everything() -> Iterator[Row]:
    for name, title, variant in (("vit-b", "ViT-B", "sam_vit_b"), ("hiera-t", "Hiera-T", _TINY)):
        yield Row(
            f"everything-{name}",
            f"everything in a picture, 32×32 clicks, {title}",
            "everything",
            variant,
            Loop(works.everything),
            judged=False,
            heavy=True,
        )


def _growth() -> Iterator[Row]:
    """Further sizes of the encoders; what grows with prompts, memories and objects are rows already."""
    for name, family, variant, module in (
        ("vit-b", "ViT-B", "sam_vit_b", works.ImageEncoder),
        ("hiera-t", "Hiera-T", _TINY, works.ImageLevels),
    ):
        for label, share in (("quarter", 0.25), ("half", 0.5)):
            yield Row(
                f"{name}-{label}",
                f"{family} encoder, image of {{side}}",
                "growth",
                variant,
                Graph(module, works.image),
                share=share,
                family=family,
                curves=(_SIDE, ("batch", 1)) if label == "quarter" else (_SIDE,),
            )
        for batch in (2, 4):
            yield Row(
                f"{name}-batch-{batch}",
                f"{family} encoder, {batch} images of {{side}}",
                "growth",
                variant,
                Graph(module, partial(works.image, batch=batch)),
                share=0.25,
                family=family,
                curves=(("batch", batch),),
            )


ROWS: tuple[Row, ...] = (
    *_encoders(),
    *_decoders(),
    *_memory(),
    *_video(),
    *_everything(),
    *_growth(),
)


def find(name: str) -> Row:
    """The row of this name."""
    return next(row for row in ROWS if row.name == name)


def select(wanted: Sequence[str]) -> list[Row]:
    """The rows that names and groups choose, in their order; all where nothing is named.

    Raises:
        UsageError: a name is neither; with those that there are.
    """
    chosen = set(wanted)
    known = {row.name for row in ROWS} | set(GROUPS) | {"forward"}
    if unknown := sorted(chosen - known):
        rows = ", ".join(row.name for row in ROWS)
        raise UsageError(f"--only {unknown[0]}: there are the groups forward, {', '.join(GROUPS)} and {rows}")
    if not chosen or "forward" in chosen:
        return list(ROWS)
    return [
        row for row in ROWS if chosen & {row.name, row.group}
    ]  # none for load and import, which are no rows
