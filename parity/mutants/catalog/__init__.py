"""The planted bugs, one file a part of the project."""

from parity.mutants.catalog import attention, decoders, encoders, position, small, tracking, vit_hiera

ALL = (
    *small.MUTANTS,
    *position.MUTANTS,
    *vit_hiera.MUTANTS,
    *attention.MUTANTS,
    *encoders.MUTANTS,
    *decoders.MUTANTS,
    *tracking.MUTANTS,
)
"""Every mutant."""
