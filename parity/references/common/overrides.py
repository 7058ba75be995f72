"""Have an upstream builder build for another image size: it knows one, written into its body.

The classes that the builder calls are replaced, while it runs, by functions that call them with other keyword
arguments. So everything else is what the builder says.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any
from unittest import mock

from torch import nn


@contextmanager
def overridden(builder: ModuleType, fixed: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
    """While the context lasts, classes that `builder` calls get the given keyword arguments.

    Args:
        builder: the module of the builder's functions.
        fixed: for each class, by name, its keyword arguments that replace the builder's.
    """
    with ExitStack() as stack:
        for name, arguments in fixed.items():
            make = _overriding(getattr(builder, name), arguments)
            stack.enter_context(mock.patch.object(builder, name, make))
        yield


def sam_sizes(image_size: int) -> dict[str, dict[str, Any]]:
    """The arguments of SAM 1's classes in which the image's side stands."""
    grid = image_size // 16
    return {
        "ImageEncoderViT": {"img_size": image_size},
        "PromptEncoder": {
            "image_embedding_size": (grid, grid),
            "input_image_size": (image_size, image_size),
        },
    }


def _overriding(make: Callable[..., nn.Module], fixed: Mapping[str, Any]) -> Callable[..., nn.Module]:
    return lambda *args, **kwargs: make(*args, **{**kwargs, **fixed})
