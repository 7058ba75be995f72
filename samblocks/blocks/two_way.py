"""The decoder's transformer, in which prompt tokens and image attend to each other."""

from collections.abc import Callable
from typing import NamedTuple, cast

from torch import Tensor, nn

from samblocks.blocks.arguments import checks_arguments
from samblocks.blocks.attention import Attention
from samblocks.blocks.common import MLP, MLPBlock
from samblocks.ops.half_precision import computes_half_in_float32
from samblocks.ops.norm import layer_norm


class SharedImage(NamedTuple):
    """What the first layer makes of an image before prompts matter, once for all of them.

    Its tokens and their encoding, [1, M, C]; keys and values for tokens that look at it, and queries with which it
    looks at tokens, [1, h, M, d].
    """

    tokens: Tensor
    encoding: Tensor
    keys: Tensor
    values: Tensor
    queries: Tensor


@checks_arguments(C="self_attn.embedding_dim")
@computes_half_in_float32
class TwoWayAttentionBlock(nn.Module):
    """One layer of SAM's decoder: tokens among themselves, tokens to image, MLP, image to tokens.

    Each step adds to its input and is normalized after. Position encodings go to queries and keys, never
    to values.

    Args:
        embedding_dim: channels C.
        num_heads: number of heads.
        mlp_dim: channels inside the MLP.
        activation: makes the MLP's activation.
        attention_downsample_rate: how many times fewer channels the two cross attentions use.
        skip_first_layer_pe: whether the self attention goes without encodings and replaces the queries
            instead of adding to them, as in the first layer.

    Examples:
        >>> import torch
        >>> block = TwoWayAttentionBlock(embedding_dim=32, num_heads=4, mlp_dim=64)
        >>> tokens, image = torch.randn(1, 5, 32), torch.randn(1, 16, 32)
        >>> queries, keys = block(tokens, image, query_pe=tokens, key_pe=torch.randn(1, 16, 32))
        >>> tuple(queries.shape), tuple(keys.shape)
        ((1, 5, 32), (1, 16, 32))

    Upstream: facebookresearch/segment-anything segment_anything/modeling/transformer.py
    """

    mlp: MLPBlock | MLP

    def __init__(
        self,
        embedding_dim: int,
        num_heads: int,
        mlp_dim: int = 2048,
        activation: Callable[[], nn.Module] = nn.ReLU,
        attention_downsample_rate: int = 2,
        skip_first_layer_pe: bool = False,
    ) -> None:
        super().__init__()
        self.self_attn = Attention(embedding_dim, num_heads)
        self.norm1 = nn.LayerNorm(embedding_dim)
        self.cross_attn_token_to_image = Attention(embedding_dim, num_heads, attention_downsample_rate)
        self.norm2 = nn.LayerNorm(embedding_dim)
        self.mlp = self._make_mlp(embedding_dim, mlp_dim, activation)
        self.norm3 = nn.LayerNorm(embedding_dim)
        self.norm4 = nn.LayerNorm(embedding_dim)
        self.cross_attn_image_to_token = Attention(embedding_dim, num_heads, attention_downsample_rate)
        self.skip_first_layer_pe = skip_first_layer_pe

    @staticmethod
    def _make_mlp(embedding_dim: int, mlp_dim: int, activation: Callable[[], nn.Module]) -> MLPBlock | MLP:
        return MLPBlock(embedding_dim, mlp_dim, activation)

    def forward(
        self, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Let tokens and image attend to each other once.

        Args:
            queries: [B, N, C], prompt tokens
            keys: [B, M, C], image tokens
            query_pe: [B, N, C], encoding of the prompt tokens
            key_pe: [B, M, C], encoding of the image tokens

        Returns:
            The prompt tokens, [B, N, C], and the image tokens, [B, M, C].
        """
        queries = self._attend_to_itself(queries, query_pe)
        placed = keys + key_pe
        queries = queries + self.cross_attn_token_to_image(queries + query_pe, placed, keys)
        queries = self._feed_forward(layer_norm(self.norm2, queries))
        keys = keys + self.cross_attn_image_to_token(placed, queries + query_pe, queries)
        return queries, layer_norm(self.norm4, keys)

    def share(self, image: Tensor, encoding: Tensor) -> SharedImage:
        """Do what does not depend on prompts.

        Args:
            image: [1, M, C]
            encoding: [1, M, C]

        Returns:
            For `look` and `look_back`.
        """
        placed, look, give = image + encoding, self.cross_attn_image_to_token, self.cross_attn_token_to_image
        return SharedImage(
            image.contiguous(), encoding, *give.project_keys(placed, image), look.project_queries(placed)
        )

    def look(self, queries: Tensor, image: SharedImage, query_pe: Tensor) -> Tensor:
        """Do what `forward` does with prompts [B, N, C] that look at one image: these prompts."""
        queries = self._attend_to_itself(queries, query_pe)
        gathered = self.cross_attn_token_to_image.gather_shared(queries + query_pe, image.keys, image.values)
        return self._feed_forward(layer_norm(self.norm2, queries + gathered))

    def look_back(self, queries: Tensor, image: SharedImage, query_pe: Tensor) -> Tensor:
        """Do what `forward` does with the image, for prompts [B, N, C] as `look` gives them: an image for each."""
        keys = self.cross_attn_image_to_token.spread_shared(image.queries, queries + query_pe, queries)
        return layer_norm(self.norm4, keys.add_(image.tokens))

    def _attend_to_itself(self, queries: Tensor, query_pe: Tensor) -> Tensor:
        if self.skip_first_layer_pe:
            queries = self.self_attn(queries, queries, queries)
        else:
            placed = queries + query_pe
            queries = queries + self.self_attn(placed, placed, queries)
        return layer_norm(self.norm1, queries)

    def _feed_forward(self, queries: Tensor) -> Tensor:
        return layer_norm(self.norm3, queries + self.mlp(queries))


class SAM2TwoWayAttentionBlock(TwoWayAttentionBlock):
    """One layer of SAM 2's decoder: as SAM's, with the tensors of its MLP under other names.

    Args:
        embedding_dim: channels C.
        num_heads: number of heads.
        mlp_dim: channels inside the MLP.
        activation: makes the MLP's activation.
        attention_downsample_rate: how many times fewer channels the two cross attentions use.
        skip_first_layer_pe: whether the self attention goes without encodings and replaces the queries
            instead of adding to them, as in the first layer.

    Examples:
        >>> import torch
        >>> block = SAM2TwoWayAttentionBlock(embedding_dim=256, num_heads=8)
        >>> sparse = torch.randn(1, 100, 256)
        >>> dense = torch.randn(1, 256, 256)  # the tokens of a 16 x 16 map, 256 channels each
        >>> queries, keys = block(
        ...     queries=sparse, keys=dense, query_pe=torch.randn(1, 100, 256), key_pe=torch.randn(1, 256, 256)
        ... )
        >>> tuple(queries.shape), tuple(keys.shape)
        ((1, 100, 256), (1, 256, 256))

    Upstream: facebookresearch/sam2 sam2/modeling/sam/transformer.py
    """

    @staticmethod
    def _make_mlp(embedding_dim: int, mlp_dim: int, activation: Callable[[], nn.Module]) -> MLPBlock | MLP:
        return MLP(embedding_dim, mlp_dim, embedding_dim, num_layers=2, act=activation)


@checks_arguments(C="embedding_dim")
@computes_half_in_float32
class TwoWayTransformer(nn.Module):
    """SAM's decoder transformer: layers of two-way attention, and a last look of the tokens at the image.

    Args:
        depth: number of layers.
        embedding_dim: channels C.
        num_heads: number of heads.
        mlp_dim: channels inside the MLPs.
        activation: makes the MLPs' activations.
        attention_downsample_rate: how many times fewer channels the cross attentions use.

    Examples:
        >>> import torch
        >>> transformer = TwoWayTransformer(depth=2, embedding_dim=32, num_heads=4, mlp_dim=64)
        >>> image, points = torch.randn(1, 32, 4, 6), torch.randn(1, 5, 32)
        >>> queries, keys = transformer(image, torch.randn(1, 32, 4, 6), points)
        >>> tuple(queries.shape), tuple(keys.shape)
        ((1, 5, 32), (1, 24, 32))

    Upstream: facebookresearch/segment-anything segment_anything/modeling/transformer.py
    """

    _layer: type[TwoWayAttentionBlock] = TwoWayAttentionBlock

    def __init__(
        self,
        depth: int,
        embedding_dim: int,
        num_heads: int,
        mlp_dim: int,
        activation: Callable[[], nn.Module] = nn.ReLU,
        attention_downsample_rate: int = 2,
    ) -> None:
        super().__init__()
        self.depth = depth
        self.embedding_dim = embedding_dim
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.layers = nn.ModuleList(
            self._layer(
                embedding_dim,
                num_heads,
                mlp_dim,
                activation,
                attention_downsample_rate,
                skip_first_layer_pe=index == 0,
            )
            for index in range(depth)
        )
        self.final_attn_token_to_image = Attention(embedding_dim, num_heads, attention_downsample_rate)
        self.norm_final_attn = nn.LayerNorm(embedding_dim)

    def forward(
        self, image_embedding: Tensor, image_pe: Tensor, point_embedding: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Let prompt tokens and image attend to each other.

        Args:
            image_embedding: [B, C, H, W]
            image_pe: [B, C, H, W], encoding of the pixels
            point_embedding: [B, N, C], prompt tokens, which are their own encoding

        Returns:
            The prompt tokens, [B, N, C], and the image as tokens, row by row, [B, H * W, C].
        """
        keys, key_pe = (x.flatten(2).transpose(1, 2) for x in (image_embedding, image_pe))
        return self._run(self.layers, point_embedding, keys, point_embedding, key_pe)

    def share(self, image_embedding: Tensor, image_pe: Tensor) -> SharedImage:
        """Do what does not depend on prompts, for an image and its encoding, [1, C, H, W] each."""
        keys, key_pe = (x.flatten(2).transpose(1, 2) for x in (image_embedding, image_pe))
        return self._first_layer().share(keys, key_pe)

    def look(self, image: SharedImage, point_embedding: Tensor) -> Tensor:
        """Let prompts [B, N, C] look at one image: what the first layer makes of them, all of them at once."""
        return self._first_layer().look(point_embedding, image, query_pe=point_embedding)

    def forward_shared(
        self, image: SharedImage, point_embedding: Tensor, looked: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Do what `forward` does for prompts [B, N, C], and what `look` made of them."""
        keys = self._first_layer().look_back(looked, image, query_pe=point_embedding)
        return self._run(self.layers[1:], looked, keys, point_embedding, image.encoding)

    def _first_layer(self) -> TwoWayAttentionBlock:
        return cast(TwoWayAttentionBlock, self.layers[0])

    def _run(
        self, layers: nn.ModuleList, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        for layer in layers:
            queries, keys = layer(queries, keys, query_pe=query_pe, key_pe=key_pe)
        gathered = self.final_attn_token_to_image(queries + query_pe, keys + key_pe, keys)
        return layer_norm(self.norm_final_attn, queries + gathered), keys


class SAM2TwoWayTransformer(TwoWayTransformer):
    """SAM 2's decoder transformer: as SAM's, with the tensors of its MLPs under other names.

    Args:
        depth: number of layers.
        embedding_dim: channels C.
        num_heads: number of heads.
        mlp_dim: channels inside the MLPs.
        activation: makes the MLPs' activations.
        attention_downsample_rate: how many times fewer channels the cross attentions use.

    Examples:
        >>> import torch
        >>> transformer = SAM2TwoWayTransformer(2, 64, num_heads=4, mlp_dim=128)
        >>> image, place = torch.randn(1, 64, 16, 12), torch.randn(1, 64, 16, 12)
        >>> queries, keys = transformer(image, place, point_embedding=torch.randn(1, 7, 64))
        >>> tuple(queries.shape), tuple(keys.shape)  # the image comes back as tokens
        ((1, 7, 64), (1, 192, 64))

    Upstream: facebookresearch/sam2 sam2/modeling/sam/transformer.py
    """

    _layer = SAM2TwoWayAttentionBlock
