"""Bugs in the blocks of both image encoders: SAM's ViT and Hiera."""

from parity.selftest.mutants.table import table

MUTANTS = table("""
get_rel_pos in samblocks/ops/rel_pos.py
  nearest | resize mode | the table of absolute positions is resized so, this one is not
    get_rel_pos: mode="linear" => mode="nearest"
  aligned_corners | align_corners | for a table of distances, which has ends, it looks right
    get_rel_pos: mode="linear" => mode="linear", align_corners=True
  mirrored | relative positions | distance of key from query, or of query from key
    get_rel_pos: q_position - k_position => k_position - q_position
  queries_set_the_length | relative positions | the same while queries and keys are as many
    get_rel_pos: max(q_size, k_size) => q_size

add_decomposed_rel_pos in samblocks/ops/rel_pos.py
  axes_of_keys_swapped | swapped axes of relative positions | on square grids the sum has the right shape
      either way
    add_decomposed_rel_pos: pairs + rows[..., :, None] + columns[..., None, :]
      => pairs + rows[..., None, :] + columns[..., :, None]
  one_table_for_both | swapped axes of relative positions | tables that begin at zero hide which is read
    _axis_scores: get_rel_pos(q_h, k_h, rel_pos_h) => get_rel_pos(q_h, k_h, rel_pos_w)
  rows_left_out | missing term | one of two terms, both zero after initialisation
    add_decomposed_rel_pos: pairs + rows[..., :, None] => pairs

REAttention in samblocks/blocks/vit.py
  positions_from_scaled_queries | scale of attention | only the dot products are scaled, relative positions
      read the plain queries
    REAttention.gather: q.flatten(0, 1) => (q * self.scale).flatten(0, 1)
  scale_of_all_channels | scale of attention | the root of the width in the place of the heads'
    REAttention.__init__: channels**-0.5 => dim**-0.5
  tables_swapped | swapped axes of relative positions | height and width: invisible in shapes of square
      windows
    REAttention.gather: rel_pos_terms(q.flatten(0, 1), self.rel_pos_h, self.rel_pos_w, (height, width),
      (height, width))
      => rel_pos_terms(q.flatten(0, 1), self.rel_pos_w, self.rel_pos_h, (height, width), (height, width))
  k_and_v_swapped | k and v swapped | all three have the same shape
    REAttention.gather: q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
      => q, v, k = qkv.permute(2, 0, 3, 1, 4).unbind(0)
  qkv_for_each_head | order of q, k, v and heads | TinyViT stores q, k and v of one head side by side, ViT
      those of all heads
    REAttention.gather: qkv.reshape(batch, height * width, 3, self.num_heads, channels // self.num_heads)
      => qkv.reshape(batch, height * width, self.num_heads, 3, channels // self.num_heads)
    REAttention.gather: qkv.permute(2, 0, 3, 1, 4) => qkv.permute(3, 0, 2, 1, 4)

Block in samblocks/blocks/vit.py
  shortcut_after_norm | residual from elsewhere | post-norm habits: the shortcut starts after the norm
    Block._attend: shortcut = x =>
    Block._attend: x = layer_norm(self.norm1, x) => shortcut = x = layer_norm(self.norm1, x)
  second_shortcut_missing | residual missing | one of two additions
    Block._feed_forward: x + self.mlp(layer_norm(self.norm2, x)) => self.mlp(layer_norm(self.norm2, x))
  second_norm_missing | missing norm | freshly made norms hardly change what is normed already
    Block._feed_forward: layer_norm(self.norm2, x) => x
  padding_before_norm | window padding | TinyViT pads before the norm, ViT after it: the padding is then the
      norm's bias | plain
    Block._attend: window_partition(x, self.window_size) => window_partition(shortcut, self.window_size)
    Block._attend: self.attn(windows) => self.attn(layer_norm(self.norm1, windows))
  eps_of_sam | eps | the released models pass 1e-6, the class's own default is torch's
    Block.__init__: norm_layer=nn.LayerNorm => norm_layer=lambda dim: nn.LayerNorm(dim, eps=1e-6)

do_pool in samblocks/blocks/hiera.py
  norm_before_pool | pooling order | which of two steps comes first
    do_pool: pool(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1) => x if norm is None else layer_norm(norm, x)
    do_pool: x if norm is None else layer_norm(norm, x) => pool(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
  axes_swapped | height and width | height and width change places on the way there and back: square pools
      cannot tell
    do_pool: pool(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
      => pool(x.permute(0, 3, 2, 1)).permute(0, 3, 2, 1)
  norm_without_pool | pooling order | without a pool the norm is not applied either
    do_pool: return x => return x if norm is None else layer_norm(norm, x)

MultiScaleAttention in samblocks/blocks/hiera.py
  pools_before_projection | pooling order | the largest of linear maps is not the linear map of the largest
    MultiScaleAttention.forward: linear(self.qkv, x) => (setattr(self, "given", x), linear(self.qkv, x))[1]
    MultiScaleAttention.gather: do_pool(q.reshape(batch, height, width, self.dim_out), self.q_pool)
      => linear(self.qkv, do_pool(self.given, self.q_pool))[..., : self.dim_out]
  k_and_v_swapped | k and v swapped | all three have the same shape
    MultiScaleAttention.gather: attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2),
      implementation=self.implementation)
      => attend(q.transpose(1, 2), v.transpose(1, 2), k.transpose(1, 2), implementation=self.implementation)
  qkv_for_each_head | order of q, k, v and heads | whether heads or q, k, v come first in the channels
    MultiScaleAttention.gather: qkv.reshape(batch, height * width, 3, self.num_heads, head_dim).unbind(2)
      => qkv.reshape(batch, height * width, self.num_heads, 3, head_dim).unbind(3)
  heads_not_moved_back | order of q, k, v and heads | a reshape of the right size over the wrong axes
    MultiScaleAttention.gather: out.transpose(1, 2) => out
  every_pool_takes_the_largest | pooling | kernel and stride are read off the pool, its kind is not
    MultiScaleAttention.gather: do_pool(q.reshape(batch, height, width, self.dim_out), self.q_pool)
      => do_pool(q.reshape(batch, height, width, self.dim_out),
      nn.MaxPool2d(self.q_pool.kernel_size, self.q_pool.stride))

MultiScaleBlock in samblocks/blocks/hiera.py
  shortcut_projects_raw_input | residual from elsewhere | where the width changes the shortcut starts from the
      normed input, elsewhere from the raw one
    MultiScaleBlock._transform: linear(self.proj, x) => linear(self.proj, shortcut)
  eps_of_layer_norm | eps | torch's own default epsilon
    _norm_maker: eps=1e-6 => eps=1e-5
  average_pool | pooling | the other pooling
    MultiScaleBlock.__init__: nn.MaxPool2d(kernel_size=q_stride, stride=q_stride)
      => nn.AvgPool2d(kernel_size=q_stride, stride=q_stride)
  pool_rounds_up | pooling | an odd row is dropped, not pooled on its own
    MultiScaleBlock.__init__: stride=q_stride => stride=q_stride, ceil_mode=True
  second_branch_never_dropped | drop mask | one of two draws
    MultiScaleBlock._transform: self.drop_path(self.mlp(layer_norm(self.norm2, x)))
      => self.mlp(layer_norm(self.norm2, x))
""")
