"""Pictures that a model has encoded: what predictors keep between a picture and the prompts on it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from samblocks.predict.arguments import path as path_of
from samblocks.predict.drivers import Features, driver_of
from samblocks.predict.embeddings import (
    Embedding,
    hash_of_picture,
    hash_of_text,
    hash_of_weights,
    named,
)
from samblocks.predict.pictures import Picture, as_rgb
from samblocks.predict.resize import fitting_size
from samblocks.predict.transforms import ResizeLongestSide, SAM2Transforms, Size


class EncodedPictures:
    """A model and what its image encoder made of one picture, or of several.

    The attributes are those of both of Meta's predictors; some of them are set from outside, by people who keep
    features themselves.

    Args:
        model: a SAM, MobileSAM or SAM 2, ours or Meta's.

    Raises:
        ValueError: it is none of these.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._driver = driver_of(model)
        self._features: Features = None
        self._orig_hw: list[Size] = []
        self._input_hw: list[Size] = []
        self._pictures: tuple[str, ...] | None = None
        self._is_image_set = self._is_batch = False

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def transform(self) -> ResizeLongestSide | SAM2Transforms:
        """From a picture's pixels to the model's."""
        return self._driver.transform

    @property
    def _transforms(self) -> ResizeLongestSide | SAM2Transforms:
        return self._driver.transform

    @property
    def is_image_set(self) -> bool:
        """Whether there is a picture."""
        return self._is_image_set

    @is_image_set.setter
    def is_image_set(self, value: bool) -> None:
        self._is_image_set = value

    @property
    def features(self) -> Features:
        """What the image encoder gave: a tensor [B, C, H, W] (SAM), or maps by name (SAM 2); None without a picture."""
        return self._features

    @features.setter
    def features(self, value: Features) -> None:
        self._features, self._pictures = value, None

    @property
    def original_size(self) -> Size | None:
        """Height and width of the picture, of the last one where several are set."""
        return self._orig_hw[-1] if self._orig_hw else None

    @original_size.setter
    def original_size(self, value: Size) -> None:
        self._orig_hw = [(int(value[0]), int(value[1]))]

    @property
    def input_size(self) -> Size | None:
        """Height and width that it takes up in the model's input."""
        return self._input_hw[-1] if self._input_hw else None

    @input_size.setter
    def input_size(self, value: Size) -> None:
        self._input_hw = [(int(value[0]), int(value[1]))]

    # Pictures.

    def set_image(self, image: Picture, image_format: Literal["RGB", "BGR"] = "RGB") -> None:
        """Encode a picture; masks are predicted on it from then on.

        Args:
            image: see `samblocks.predict.pictures.as_rgb`.
            image_format: the order of an array's or a tensor's channels.

        Raises:
            ValueError: `image` is no picture. SAM 2's predictor then has none, SAM's keeps the one it had.
        """
        if self._driver.squares:
            self.reset_predictor()
        self._encode([as_rgb(image, image_format=image_format)], batch=False)

    def set_image_batch(self, image_list: Sequence[Picture]) -> None:
        """Encode several pictures, of any sizes, in one pass; `predict_batch` answers for all of them.

        Args:
            image_list: pictures as for `set_image`.

        Raises:
            ValueError: there is none, or one is no picture.
        """
        if self._driver.squares:
            self.reset_predictor()
        if isinstance(image_list, str) or not isinstance(image_list, Sequence) or not len(image_list):
            raise ValueError("image_list must be a list of pictures, at least one")
        pictures = [as_rgb(one, argument=f"image_list[{i}]") for i, one in enumerate(image_list)]
        self._encode(pictures, batch=True)

    def set_torch_image(self, transformed_image: Tensor, original_image_size: Size) -> None:
        """Encode a picture that was resized already.

        Args:
            transformed_image: [1, 3, h, w]; for SAM from 0 to 255 with the model's side as the longer one, for
                SAM 2 normalised and as large as the model's input.
            original_image_size: the picture's height and width before that.

        Raises:
            ValueError: the shape is another.
        """
        sides, shape = self._driver.transform.sides, tuple(transformed_image.shape)
        left = [own - side for own, side in zip(sides, shape[2:], strict=False)]
        if (
            len(shape) != 4
            or shape[:2] != (1, 3)
            or min(left) < 0
            or (any(left) if self._driver.squares else all(left))
        ):
            fits = "h and w of" if self._driver.squares else "h and w that fit, one of them exactly, into"
            raise ValueError(
                f"transformed_image has shape {shape}; it must be [1, 3, h, w] with {fits} {sides}"
            )
        self.reset_predictor()
        original, inside = (int(original_image_size[0]), int(original_image_size[1])), (shape[2], shape[3])
        with torch.no_grad():
            given = transformed_image.to(self.device)
            weight = next(self.model.parameters())
            image = given.to(weight.dtype) if self._driver.squares else self._preprocess(given)
            features = self._driver.encode(image)
        self._set(features, [original], [inside], (hash_of_picture(transformed_image),))

    def get_image_embedding(self) -> Tensor:
        """The coarsest map of the picture, or of all pictures: [B, C, H, W].

        Raises:
            RuntimeError: there is no picture.
        """
        self._need_picture()
        features = self._features
        embedding: Tensor = features["image_embed"] if isinstance(features, dict) else features
        return embedding

    def get_embedding(self, path: str | os.PathLike[str] | None = None) -> Embedding:
        """All features, bound by hashes to the weights and the pictures they come from.

        Args:
            path: also write them there, as a safetensors file.

        Returns:
            What `set_embedding` takes.

        Raises:
            RuntimeError: there is no picture, or somebody else set the features.
        """
        self._need_picture()
        if self._pictures is None:
            raise RuntimeError("the features were set from outside: of which picture they are is not known")
        embedding = Embedding(
            named(self._features),
            self._hash(),
            hash_of_text(self._driver.preprocessing),
            self._pictures,
            tuple(self._orig_hw),
            tuple(self._input_hw),
            self._is_batch,
        )
        if path is not None:
            embedding.save(path)
        return embedding

    def set_embedding(
        self, embedding: Embedding | str | os.PathLike[str], image: Picture | None = None
    ) -> None:
        """Take features that `get_embedding` gave in place of a picture.

        Args:
            embedding: the features, or the file that holds them.
            image: the picture they should be of, a list of pictures for several; it is not encoded.

        Raises:
            ValueError: they come from other weights or from another picture, or the file holds none.
        """
        found = (
            embedding
            if isinstance(embedding, Embedding)
            else Embedding.read(path_of(embedding, "embedding", "an Embedding or "))
        )
        if found.weights != self._hash():
            raise ValueError(
                "embedding comes from other weights, or from another image size, than this model's"
            )
        if found.preprocessing != hash_of_text(self._driver.preprocessing):
            raise ValueError(
                "embedding comes from pictures that were prepared in another way than this model's"
            )
        if image is not None:
            pictures = image if found.batch else [image]
            if tuple(hash_of_picture(as_rgb(one)) for one in pictures) != found.pictures:
                raise ValueError("embedding is of another picture than image")
        moved = {name: value.to(self.device) for name, value in found.tensors.items()}
        embed = moved.pop("image_embed")
        finer = [moved[name] for name in sorted(moved)]
        named = self._driver.squares or bool(finer)
        features = {"image_embed": embed, "high_res_feats": finer} if named else embed
        self._set(features, list(found.original), list(found.inside), found.pictures, batch=found.batch)

    def reset_predictor(self) -> None:
        """Forget the picture. SAM's predictor keeps its sizes, as Meta's does."""
        self._features = self._pictures = None
        self._is_image_set = self._is_batch = False
        if self._driver.squares:
            self._orig_hw, self._input_hw = [], []

    def reset_image(self) -> None:
        """Forget the picture: `reset_predictor`."""
        self.reset_predictor()

    def _hash(self) -> str:
        return hash_of_weights(self.model, self._driver.encoding, self._driver.image_size)

    def _preprocess(self, image: Tensor) -> Tensor:
        prepared: Tensor = self.model.preprocess(image)  # type: ignore[operator]
        return prepared

    def _need_picture(self) -> None:
        if not self._is_image_set or self._features is None:
            raise RuntimeError("there is no picture yet: call set_image first")

    def _encode(self, pictures: list[Any], *, batch: bool) -> None:
        with torch.no_grad():
            images, inside = self._driver.prepare(pictures)
            features = self._driver.encode(images)
        original = [(picture.shape[0], picture.shape[1]) for picture in pictures]
        self._set(features, original, inside, tuple(map(hash_of_picture, pictures)), batch=batch)

    def _inside(self, index: int) -> Size:
        """The part of the model's input that a picture takes up; derived where features were set from outside."""
        if self._input_hw:
            return self._input_hw[index]
        sides = self._driver.transform.sides
        return sides if self._driver.squares else fitting_size(*self._orig_hw[index], sides)

    def _set(
        self,
        features: Features,
        original: list[Size],
        inside: list[Size],
        pictures: tuple[str, ...],
        *,
        batch: bool = False,
    ) -> None:
        self._features, self._pictures = features, pictures
        self._orig_hw, self._input_hw = original, inside
        self._is_image_set, self._is_batch = True, batch
