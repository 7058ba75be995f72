"""Small modules under the class names of transformers, whose calls and tensor names are its own."""

from types import SimpleNamespace

import torch
from fake_hosts import hosted
from torch import nn

from parity.execution.fill import fill_

_SAM2 = "transformers.models.sam2.modeling_sam2"


@hosted("transformers.activations")
class GELUActivation(nn.Module):
    def forward(self, x):
        return nn.functional.gelu(x)


@hosted(_SAM2)
class Sam2FeedForward(nn.Module):
    def __init__(self, width, hidden, out, layers, act=nn.ReLU):
        super().__init__()
        self.num_layers, self.sigmoid_output = layers, False
        self.activation = act()
        self.proj_in, self.proj_out = nn.Linear(width, hidden), nn.Linear(hidden, out)
        self.layers = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers - 2))

    def forward(self, hidden_states):
        x = self.activation(self.proj_in(hidden_states))
        for layer in self.layers:
            x = self.activation(layer(x))
        x = self.proj_out(x)
        return x.sigmoid() if self.sigmoid_output else x


@hosted(_SAM2)
class Sam2LayerNorm(nn.LayerNorm):
    def __init__(self, channels, *, eps=1e-6, data_format="channels_first"):
        super().__init__(channels, eps=eps)
        self.data_format = data_format

    def forward(self, features):
        if self.data_format == "channels_last":
            return super().forward(features)
        return super().forward(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@hosted(_SAM2)
class Sam2Attention(nn.Module):
    def __init__(self, config, width, heads, rate=1):
        super().__init__()
        self.config, self.hidden_size, self.internal_dim = config, width, width // rate
        self.num_attention_heads = heads
        self.scaling, self.is_causal = (width // rate // heads) ** -0.5, False
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width // rate) for _ in range(3))
        self.o_proj = nn.Linear(width // rate, width)

    def forward(self, query, key, value, attention_similarity=None, **kwargs):
        batch, prompts = query.shape[:2]
        q, k, v = (
            layer(x.flatten(0, 1)).unflatten(-1, (self.num_attention_heads, -1)).transpose(1, 2)
            for layer, x in ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value))
        )
        if self.config._attn_implementation == "eager":
            weights = ((q @ k.transpose(-2, -1)) * self.scaling).softmax(-1)
            out = weights @ v
        else:
            out = nn.functional.scaled_dot_product_attention(
                q, k, v, scale=self.scaling, is_causal=self.is_causal
            )
        return self.o_proj(out.transpose(1, 2).flatten(2)).unflatten(0, (batch, prompts)), None


@hosted(_SAM2)
class Sam2TwoWayAttentionBlock(nn.Module):
    def __init__(self, config, width, heads, hidden, first):
        super().__init__()
        self.self_attn, self.layer_norm1 = Sam2Attention(config, width, heads), nn.LayerNorm(width)
        self.cross_attn_token_to_image = Sam2Attention(config, width, heads, 2)
        self.layer_norm2 = nn.LayerNorm(width)
        self.mlp, self.layer_norm3 = Sam2FeedForward(width, hidden, width, 2), nn.LayerNorm(width)
        self.layer_norm4 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = Sam2Attention(config, width, heads, 2)
        self.skip_first_layer_pe = first

    def forward(
        self, queries, keys, query_point_embedding, key_point_embedding, attention_similarity=None, **kwargs
    ):
        placed = queries + query_point_embedding
        if self.skip_first_layer_pe:
            queries, _ = self.self_attn(query=queries, key=queries, value=queries)
        else:
            queries = queries + self.self_attn(query=placed, key=placed, value=queries)[0]
        queries = self.layer_norm1(queries)
        image = keys + key_point_embedding
        seen, _ = self.cross_attn_token_to_image(
            query=queries + query_point_embedding, key=image, value=keys, attention_similarity=None
        )
        queries = self.layer_norm2(queries + seen)
        queries = self.layer_norm3(queries + self.mlp(queries))
        seen, _ = self.cross_attn_image_to_token(
            query=image, key=queries + query_point_embedding, value=queries
        )
        return queries, self.layer_norm4(keys + seen), seen


@hosted(_SAM2)
class Sam2TwoWayTransformer(nn.Module):
    def __init__(self, config, depth, width, heads, hidden):
        super().__init__()
        self.config, self.num_hidden_layers = config, depth
        self.layers = nn.ModuleList(
            Sam2TwoWayAttentionBlock(config, width, heads, hidden, index == 0) for index in range(depth)
        )
        self.final_attn_token_to_image = Sam2Attention(config, width, heads, 2)
        self.layer_norm_final_attn = nn.LayerNorm(width)

    def forward(
        self,
        point_embeddings,
        image_embeddings,
        image_positional_embeddings,
        attention_similarity=None,
        target_embedding=None,
        **kwargs,
    ):
        keys, places = (
            x.flatten(2).transpose(1, 2).unsqueeze(1) for x in (image_embeddings, image_positional_embeddings)
        )
        queries = point_embeddings
        for layer in self.layers:
            queries, keys, _ = layer(
                queries=queries,
                keys=keys,
                query_point_embedding=point_embeddings,
                key_point_embedding=places,
                attention_similarity=attention_similarity,
            )
        seen, _ = self.final_attn_token_to_image(
            query=queries + point_embeddings, key=keys + places, value=keys
        )
        return self.layer_norm_final_attn(queries + seen), keys


class Decoder(nn.Module):
    """Somebody's model around them."""

    def __init__(self, attention="sdpa"):
        super().__init__()
        config = SimpleNamespace(_attn_implementation=attention)
        self.norm = Sam2LayerNorm(16)
        self.tokens = nn.Parameter(torch.zeros(3, 16))
        self.transformer = Sam2TwoWayTransformer(config, 2, 16, 2, 24)
        self.iou_head = Sam2FeedForward(16, 24, 4, 3, GELUActivation)

    def forward(self, image):
        maps = self.norm(image)
        tokens = self.tokens.expand(1, len(image), -1, -1)
        tokens, keys = self.transformer(
            point_embeddings=tokens, image_embeddings=maps, image_positional_embeddings=maps.flip(-1)
        )
        return self.iou_head(tokens), keys


def decoder(attention="sdpa"):
    """The model above with weights that hide nothing, in eval mode."""
    return fill_(Decoder(attention)).eval()


def maps(batch=2):
    """An input of it."""
    return torch.linspace(-2, 2, 256 * batch).reshape(batch, 16, 4, 4).mul(9).sin()
