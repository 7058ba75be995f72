"""The dtype in which encodings, rotations and resized masks are computed."""

import torch


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """Give the dtype to compute in for data of `dtype`: float64 for float64, else float32.

    Positions up to a few thousand and angles of many turns do not fit into half precision, so that
    encodings are computed in float32 there; a module that runs in float64 keeps float64 throughout.

    Args:
        dtype: dtype of the data, of any kind.

    Returns:
        `torch.float64` or `torch.float32`.

    Examples:
        >>> at_least_float32(torch.bfloat16), at_least_float32(torch.float64)
        (torch.float32, torch.float64)
    """
    return torch.float64 if dtype == torch.float64 else torch.float32
