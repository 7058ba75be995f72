"""Small modules under the class names of segment_anything, sam2 and Ultralytics, written from the formulas."""

import math
from functools import partial

import torch
from torch import nn

from parity.execution.fill import fill_

HOSTED: list[type] = []
"""Every class that says so."""


def hosted(module, name=None):
    """Let a class say that it comes from another library's module."""

    def rename(kind):
        kind.__module__, kind.__qualname__ = module, name or kind.__name__
        kind.__name__ = kind.__qualname__
        HOSTED.append(kind)
        for member in vars(kind).values():
            if callable(member) and hasattr(member, "__module__"):
                member.__module__ = module
        return kind

    return rename


# ---- segment_anything: norms in two passes, softmax written out


@hosted("segment_anything.modeling.common", "LayerNorm2d")
class TwoPassNorm(nn.Module):
    def __init__(self, channels, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x):
        mean = x.mean(1, keepdim=True)
        scale = torch.sqrt((x - mean).pow(2).mean(1, keepdim=True) + self.eps)
        return self.weight[:, None, None] * ((x - mean) / scale) + self.bias[:, None, None]


@hosted("segment_anything.modeling.common")
class MLPBlock(nn.Module):
    def __init__(self, width, hidden, act=nn.GELU):
        super().__init__()
        self.lin1, self.lin2, self.act = nn.Linear(width, hidden), nn.Linear(hidden, width), act()

    def forward(self, x):
        return self.lin2(self.act(self.lin1(x)))


@hosted("segment_anything.modeling.transformer")
class Attention(nn.Module):
    def __init__(self, width, heads, rate=1):
        super().__init__()
        self.embedding_dim, self.internal_dim, self.num_heads = width, width // rate, heads
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width // rate) for _ in range(3))
        self.out_proj = nn.Linear(width // rate, width)

    def _heads(self, x):
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def forward(self, q, k, v):
        q, k, v = self._heads(self.q_proj(q)), self._heads(self.k_proj(k)), self._heads(self.v_proj(v))
        weights = ((q @ k.transpose(-2, -1)) / math.sqrt(q.shape[-1])).softmax(-1)
        return self.out_proj((weights @ v).transpose(1, 2).flatten(2))


@hosted("segment_anything.modeling.transformer")
class TwoWayAttentionBlock(nn.Module):
    def __init__(self, width, heads, hidden, first):
        super().__init__()
        self.self_attn, self.norm1 = Attention(width, heads), nn.LayerNorm(width)
        self.cross_attn_token_to_image, self.norm2 = Attention(width, heads, 2), nn.LayerNorm(width)
        self.mlp, self.norm3 = MLPBlock(width, hidden, nn.ReLU), nn.LayerNorm(width)
        self.norm4, self.cross_attn_image_to_token = nn.LayerNorm(width), Attention(width, heads, 2)
        self.skip_first_layer_pe = first

    def forward(self, queries, keys, query_pe, key_pe):
        if self.skip_first_layer_pe:
            queries = self.self_attn(queries, queries, queries)
        else:
            queries = queries + self.self_attn(queries + query_pe, queries + query_pe, queries)
        queries = self.norm1(queries)
        queries = self.norm2(
            queries + self.cross_attn_token_to_image(queries + query_pe, keys + key_pe, keys)
        )
        queries = self.norm3(queries + self.mlp(queries))
        keys = keys + self.cross_attn_image_to_token(keys + key_pe, queries + query_pe, queries)
        return queries, self.norm4(keys)


@hosted("segment_anything.modeling.transformer")
class TwoWayTransformer(nn.Module):
    def __init__(self, depth, width, heads, hidden):
        super().__init__()
        self.depth, self.embedding_dim, self.num_heads, self.mlp_dim = depth, width, heads, hidden
        self.layers = nn.ModuleList(TwoWayAttentionBlock(width, heads, hidden, i == 0) for i in range(depth))
        self.final_attn_token_to_image = Attention(width, heads, 2)
        self.norm_final_attn = nn.LayerNorm(width)

    def forward(self, image_embedding, image_pe, point_embedding):
        keys, pe = (x.flatten(2).transpose(1, 2) for x in (image_embedding, image_pe))
        queries = point_embedding
        for layer in self.layers:
            queries, keys = layer(queries, keys, point_embedding, pe)
        out = queries + self.final_attn_token_to_image(queries + point_embedding, keys + pe, keys)
        return self.norm_final_attn(out), keys


# ---- sam2: an attention that is asked for by its class, complex turns, the fused kernel


@hosted("sam2.modeling.sam.transformer", "Attention")
class FusedAttention(nn.Module):
    def __init__(self, width, heads, kv_width=None, dropout=0.0):
        super().__init__()
        self.embedding_dim = self.internal_dim = width
        self.num_heads, self.kv_in_dim, self.dropout_p = heads, kv_width or width, dropout
        self.q_proj = nn.Linear(width, width)
        self.k_proj, self.v_proj = (nn.Linear(self.kv_in_dim, width) for _ in range(2))
        self.out_proj = nn.Linear(width, width)

    def _heads(self, q, k, v):
        split = [layer(x) for layer, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))]
        return (x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in split)

    def _attend(self, q, k, v):
        rate = self.dropout_p if self.training else 0.0
        out = nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=rate)
        return self.out_proj(out.transpose(1, 2).flatten(2))

    def forward(self, q, k, v):
        return self._attend(*self._heads(q, k, v))


def turns(dim, end_x, end_y, theta):
    rate = theta ** -(torch.arange(0, dim, 4)[: dim // 4].float() / dim)
    place = torch.arange(end_x * end_y)
    angles = [torch.outer(axis.float(), rate) for axis in (place % end_x, place // end_x)]
    return torch.polar(torch.ones(end_x * end_y, dim // 2), torch.cat(angles, dim=-1))


@hosted("sam2.modeling.sam.transformer", "RoPEAttention")
class TurnedAttention(FusedAttention):
    def __init__(self, *args, theta=10000.0, repeat=False, side=4, **kwargs):
        super().__init__(*args, **kwargs)
        self.compute_cis = partial(turns, dim=self.internal_dim // self.num_heads, theta=theta)
        self.freqs_cis = self.compute_cis(end_x=side, end_y=side)
        self.rope_k_repeat = repeat

    def forward(self, q, k, v, num_k_exclude_rope=0):
        q, k, v = self._heads(q, k, v)
        placed = k.shape[2] - num_k_exclude_rope
        turned = [self._turn(q), self._turn(k[:, :, :placed])]
        return self._attend(turned[0], torch.cat((turned[1], k[:, :, placed:]), dim=2), v)

    def _turn(self, x):
        pairs = torch.view_as_complex(
            x.to(torch.promote_types(x.dtype, torch.float32)).unflatten(-1, (-1, 2)).contiguous()
        )
        table = self.freqs_cis.repeat(x.shape[2] // len(self.freqs_cis), 1)
        return torch.view_as_real(pairs * table).flatten(-2).to(x.dtype)


@hosted("sam2.modeling.memory_attention")
class MemoryAttentionLayer(nn.Module):
    def __init__(self, width, hidden, kv_width):
        super().__init__()
        self.d_model, self.dim_feedforward, self.dropout_value = width, hidden, 0.1
        self.self_attn = TurnedAttention(width, 1, dropout=0.1)
        self.cross_attn_image = TurnedAttention(width, 1, kv_width=kv_width, repeat=True, dropout=0.1)
        self.linear1, self.dropout = nn.Linear(width, hidden), nn.Dropout(0.1)
        self.linear2 = nn.Linear(hidden, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.dropout1, self.dropout2, self.dropout3 = (nn.Dropout(0.1) for _ in range(3))
        self.activation_str, self.activation = "relu", nn.functional.relu
        self.pos_enc_at_attn, self.pos_enc_at_cross_attn_queries = False, False
        self.pos_enc_at_cross_attn_keys = True

    def forward(self, tgt, memory, pos=None, query_pos=None, num_k_exclude_rope=0):
        normed = self.norm1(tgt)
        tgt = tgt + self.dropout1(self.self_attn(normed, normed, v=normed))
        # As upstream: an attention of another class never hears of the keys without a place.
        more = (
            {"num_k_exclude_rope": num_k_exclude_rope}
            if isinstance(self.cross_attn_image, TurnedAttention)
            else {}
        )
        tgt = tgt + self.dropout2(self.cross_attn_image(q=self.norm2(tgt), k=memory + pos, v=memory, **more))
        hidden = self.dropout(self.activation(self.linear1(self.norm3(tgt))))
        return tgt + self.dropout3(self.linear2(hidden))


@hosted("sam2.modeling.memory_attention")
class MemoryAttention(nn.Module):
    def __init__(self, width=16, hidden=24, kv_width=8, depth=2):
        super().__init__()
        self.d_model, self.num_layers, self.pos_enc_at_input, self.batch_first = width, depth, True, True
        self.layers = nn.ModuleList(MemoryAttentionLayer(width, hidden, kv_width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, curr, memory, curr_pos=None, memory_pos=None, num_obj_ptr_tokens=0):
        x = (curr + 0.1 * curr_pos).transpose(0, 1)
        for layer in self.layers:
            more = {}
            if isinstance(layer.cross_attn_image, TurnedAttention):
                more["num_k_exclude_rope"] = num_obj_ptr_tokens
            x = layer(
                tgt=x, memory=memory.transpose(0, 1), pos=memory_pos.transpose(0, 1), query_pos=None, **more
            )
        return self.norm(x).transpose(0, 1)


# ---- Ultralytics: fused norms, and an MLP with more attributes


@hosted("ultralytics.nn.modules.transformer", "LayerNorm2d")
class FusedNorm(nn.Module):
    def __init__(self, channels, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x):
        last = x.permute(0, 2, 3, 1)
        return nn.functional.layer_norm(last, (last.shape[-1],), self.weight, self.bias, self.eps).permute(
            0, 3, 1, 2
        )


@hosted("ultralytics.models.sam.modules.blocks")
class CXBlock(nn.Module):
    def __init__(self, dim, drop_path=None):
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = FusedNorm(dim)
        self.pwconv1, self.act, self.pwconv2 = nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(1e-6 * torch.ones(dim))
        self.drop_path = drop_path or nn.Identity()

    def forward(self, x):
        y = self.norm(self.dwconv(x)).permute(0, 2, 3, 1)
        y = self.gamma * self.pwconv2(self.act(self.pwconv1(y)))
        return x + self.drop_path(y.permute(0, 3, 1, 2))


@hosted("ultralytics.models.sam.modules.blocks")
class Fuser(nn.Module):
    def __init__(self, dim, depth):
        super().__init__()
        self.proj = nn.Identity()
        self.layers = nn.ModuleList(CXBlock(dim) for _ in range(depth))

    def forward(self, x):
        x = self.proj(x)
        for layer in self.layers:
            x = layer(x)
        return x


class Pipeline(nn.Module):
    """Somebody's model, with modules of several libraries in it."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 1)
        self.fuser = Fuser(16, 2)
        self.norm = TwoPassNorm(16)
        self.decoder = TwoWayTransformer(2, 16, 2, 24)
        self.memory = MemoryAttention()
        self.head = nn.Linear(16, 1)

    def forward(self, image):
        x = self.norm(self.fuser(self.stem(image)))  # B 16 4 4
        tokens, keys = self.decoder(x, x.flip(-1), x.flatten(2).transpose(1, 2)[:, :3])
        frame = keys.transpose(0, 1)
        past = torch.cat((frame, frame.flip(0), tokens.transpose(0, 1)[:2]))[..., :8]
        return self.head(self.memory(frame, past, frame * 0.5, past * 0.3, num_obj_ptr_tokens=2))


def pipeline():
    """The model above with weights that hide nothing, in eval mode."""
    return fill_(Pipeline()).eval()


def picture(batch=1):
    """An input of it."""
    return torch.linspace(-2, 2, 16 * batch).reshape(batch, 1, 4, 4).mul(9).sin()
