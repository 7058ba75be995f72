"""The planted bugs, one file a part of the project."""

from parity.selftest.mutants.catalog import (
    attention,
    decoders,
    encoders,
    fast_paths,
    generators,
    position,
    predictors,
    small,
    tracking,
    video,
    vit_hiera,
)

ALL = (
    *small.MUTANTS,
    *position.MUTANTS,
    *vit_hiera.MUTANTS,
    *attention.MUTANTS,
    *encoders.MUTANTS,
    *decoders.MUTANTS,
    *tracking.MUTANTS,
    *video.MUTANTS,
    *fast_paths.MUTANTS,
    *predictors.MUTANTS,
    *generators.MUTANTS,
)
"""Every mutant."""
