"""Upstream packages as references: each runs in a worker process, in an environment of its own.

Only tensors, names and numbers cross the pipe. Nothing outside this folder imports an upstream package, and the
modules that do are imported by the worker alone.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """One reference.

    Attributes:
        name: what it is called on the command line.
        module: the module with `library()`, imported by the worker.
        packages: the distributions it rests on; their versions go into every report.
        sources: where the source of each is kept, and at which commit or tag it is that version.
    """

    name: str
    module: str
    packages: tuple[str, ...]
    sources: tuple[tuple[str, str], ...] = ()


REFERENCES: dict[str, Reference] = {
    reference.name: reference
    for reference in (
        Reference(
            "meta",
            "parity.references.meta.library",
            ("sam2", "segment-anything"),
            (
                ("sam2", "facebookresearch/sam2@2b90b9f"),
                ("segment-anything", "facebookresearch/segment-anything@dca509f"),
            ),
        ),
        Reference(
            "ultralytics",
            "parity.references.ultralytics.library",
            ("ultralytics",),
            (("ultralytics", "ultralytics/ultralytics@v8.4.190"),),
        ),
        Reference(
            "transformers",
            "parity.references.transformers.library",
            ("transformers",),
            (("transformers", "huggingface/transformers@v5.23.0"),),
        ),
        Reference(
            "timm",
            "parity.references.timm.library",
            ("timm",),
            (("timm", "huggingface/pytorch-image-models@v1.0.31"),),
        ),
        Reference(
            "hq",
            "parity.references.hq.library",
            ("segment-anything-hq",),
        ),
    )
}

FOLLOWED = ("meta", "ultralytics")
"""The references whose numbers ours are meant to be."""
