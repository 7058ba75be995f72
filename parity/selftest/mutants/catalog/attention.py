"""Bugs in attention: of the decoder, with rotation, and to the memory."""

from parity.selftest.mutants.table import table

MUTANTS = table("""
Attention in samblocks/blocks/attention.py
  scale_of_full_width | scale of attention | with downsampling the heads are narrower than the width tells
    Attention._gather: implementation=self.implementation
      => scale=(self.embedding_dim // self.num_heads) ** -0.5
  values_from_keys | k and v swapped | three lines that differ in one letter
    Attention._project: linear(self.v_proj, v) => linear(self.k_proj, v)
  drops_outside_training | training and evaluation | the fused kernel does not know about evaluation
    Attention._gather: self.dropout_p if self.training else 0.0 => self.dropout_p
  never_drops | dropout | attention weights stay: the argument is not handed on
    Attention._gather: self.dropout_p if self.training else 0.0 => 0.0
  drops_as_often_as_it_should_keep | dropout | the probability to keep is taken for that to drop
    Attention.__init__: self.dropout_p = dropout => self.dropout_p = 1.0 - dropout

Attention in samblocks/ops/attend.py
  heads_in_turn | order of q, k, v and heads | channels dealt out to heads in turn, not in groups
    split_heads: x.reshape(*x.shape[:-1], num_heads, x.shape[-1] // num_heads).transpose(1, 2)
      => x.reshape(*x.shape[:-1], x.shape[-1] // num_heads, num_heads).permute(0, 3, 1, 2)

TwoWayAttentionBlock in samblocks/blocks/two_way.py
  self_attention_values_with_positions | positions on values | positions go to queries and keys, never to
      values
    TwoWayAttentionBlock._attend_to_itself: self.self_attn(placed, placed, queries)
      => self.self_attn(placed, placed, placed)
  image_values_with_positions | positions on values | positions go to queries and keys, never to values
    TwoWayAttentionBlock.forward: self.cross_attn_token_to_image(queries + query_pe, placed, keys)
      => self.cross_attn_token_to_image(queries + query_pe, placed, placed)
  first_layer_adds | residual too many | the first layer replaces the queries, all others add to them
    TwoWayAttentionBlock._attend_to_itself: self.self_attn(queries, queries, queries)
      => queries + self.self_attn(queries, queries, queries)
  fourth_norm_missing | last norm missing | the image's tokens are normed too
    TwoWayAttentionBlock.forward: layer_norm(self.norm4, keys) => keys
  norm_eps_of_vit | eps | the image encoders' norms have 1e-6, the decoder's 1e-5
    TwoWayAttentionBlock.__init__: self.norm2 = nn.LayerNorm(embedding_dim)
      => self.norm2 = nn.LayerNorm(embedding_dim, eps=1e-6)
  norm_used_twice | wrong norm | norms of one shape, and one digit between them
    TwoWayAttentionBlock._feed_forward: self.norm3 => self.norm2

SAM2TwoWayAttentionBlock in samblocks/blocks/two_way.py
  activation_not_handed_on | activation | the default is what the released models use
    SAM2TwoWayAttentionBlock._make_mlp: act=activation =>
  perceptron_adds_its_input | residual too many | the block adds the input already
    SAM2TwoWayAttentionBlock._make_mlp: act=activation => act=activation, residual=True
  three_layers | number of layers | the hypernetworks' perceptrons have three
    SAM2TwoWayAttentionBlock._make_mlp: num_layers=2 => num_layers=3

TwoWayTransformer in samblocks/blocks/two_way.py
  no_first_layer | off by one | layers counted from 1
    TwoWayTransformer.__init__: index == 0 => index == 1
  last_look_without_shortcut | residual missing | the last attention adds like all others
    TwoWayTransformer._run: queries + gathered => gathered
  last_look_values_with_positions | positions on values | positions go to queries and keys, never to values
    TwoWayTransformer._run: self.final_attn_token_to_image(queries + query_pe, keys + key_pe, keys)
      => self.final_attn_token_to_image(queries + query_pe, keys + key_pe, keys + key_pe)
  positions_move_along | positions of tokens | the first tokens are the positions in every layer; in the first
      layer both are the same
    TwoWayTransformer._run: query_pe=query_pe => query_pe=queries

SAM2TwoWayTransformer in samblocks/blocks/two_way.py
  layers_of_sam_1 | missing tensor | the same maths under other names: weights do not load
    SAM2TwoWayTransformer: _layer = SAM2TwoWayAttentionBlock => _layer = TwoWayAttentionBlock
  last_look_at_full_width | missing tensor | an argument that reaches the layers but not the last attention
    TwoWayTransformer.__init__: Attention(embedding_dim, num_heads, attention_downsample_rate)
      => Attention(embedding_dim, num_heads)
  image_column_by_column | height and width | the order of the image's tokens, which attention does not mind
      but its reader does
    TwoWayTransformer.forward: x.flatten(2) => x.transpose(2, 3).flatten(2)

RoPEAttention in samblocks/blocks/rope.py
  excluded_keys_first | keys without rotation | pointers are the last tokens of the memory, not the first
    RoPEAttention._attend_rotated: torch.cat((rotate_pairs(k[:, :, :rotated_keys], cos, sin), k[:, :,
      rotated_keys:]), dim=2)
      => torch.cat((k[:, :, : keys - rotated_keys], rotate_pairs(k[:, :, keys - rotated_keys :], cos, sin)),
      2)
  values_turned | positions on values | values are never turned
    RoPEAttention._attend_rotated: k = rotate_pairs(k, cos, sin)
      => k, v = rotate_pairs(k, cos, sin), rotate_pairs(v, cos, sin)
  grid_as_height_width | width and height of feat_sizes | all other sizes are (height, width)
    RoPEAttention._grid: width, height = (int(side) for side in self.feat_sizes)
      => height, width = (int(side) for side in self.feat_sizes)
  table_as_height_width | width and height of feat_sizes | the table that is shown is another one than that
      which is used
    RoPEAttention.freqs_cis: width, height = self.feat_sizes => height, width = self.feat_sizes
  theta_ignored | rotary frequencies | an argument that is always left at its default
    RoPEAttention._tables: axial_tables(self.internal_dim // self.num_heads, size, self.rope_theta, like=like)
      => axial_tables(self.internal_dim // self.num_heads, size, like=like)
  queries_not_turned | keys without rotation | only one of the two is turned
    RoPEAttention._attend_rotated: q = rotate_pairs(q, cos, sin) =>

compute_axial_cis in samblocks/ops/rope.py
  rows_first | axes of rotation | y before x, as in the sine encodings; here x comes first
    _angles: (torch.outer(column, frequencies), torch.outer(row, frequencies))
      => (torch.outer(row, frequencies), torch.outer(column, frequencies))
  frequencies_of_one_axis | rotary frequencies | the usual formula is for one axis, with half as many pairs
    _angles: torch.arange(dim // 4, dtype=dtype, device="cpu") * 4
      => torch.arange(dim // 4, dtype=dtype, device="cpu") * 2
  columns_by_height | axes of rotation | square grids hide which is which
    _angles: pixel % width => pixel % height
  scale_of_columns_alone | axes of rotation | one of two lines that must say the same
    _angles: torch.div(pixel, width, rounding_mode="floor").to(dtype) * scale_pos
      => torch.div(pixel, width, rounding_mode="floor").to(dtype)

apply_rotary_enc in samblocks/ops/rope.py
  halves_as_pairs | pairs of rotation | language models pair the first half of the channels with the second,
      SAM 2 neighbours
    _product: return torch.view_as_real(torch.view_as_complex(pairs) * torch.complex(cos, sin))
      => pairs = pairs.flatten(-2).unflatten(-1, (2, -1)).mT.contiguous(); return
      torch.view_as_real(torch.view_as_complex(pairs) * torch.complex(cos, sin)).mT
  turns_backwards | pairs of rotation | the sign of the sine
    _product: torch.complex(cos, sin) => torch.complex(cos, -sin)
  each_turn_repeated | repetition | frames follow each other whole: the table is repeated, not each of its
      rows
    rotate_pairs: groups = (rows,) if x.shape[-2] == rows else (x.shape[-2] // rows, rows)
      => cos, sin = (t.repeat_interleave(x.shape[-2] // rows, 0) for t in (cos, sin)); groups = (x.shape[-2],)
  keys_not_turned | keys without rotation | only one of the two is turned
    apply_rotary_enc: rotate_pairs(xk, cos, sin) if keys else xk => xk

MemoryAttentionLayer in samblocks/blocks/memory.py
  keys_without_positions | positions of tokens | one of three flags, the only one that is set
    MemoryAttentionLayer.__init__: pos_enc_at_cross_attn_keys=True => pos_enc_at_cross_attn_keys=False
  values_with_positions | positions on values | the encoding of the memory is for its keys alone
    MemoryAttentionLayer.forward_cross_attention: self._attend_to_memory(queries, keys, memory, num_k_exclude_rope)
      => self._attend_to_memory(queries, keys, keys, num_k_exclude_rope)
  second_norm_missing | missing norm | one of three norms
    MemoryAttentionLayer.forward_cross_attention: layer_norm(self.norm2, tgt) => tgt
  gelu | activation | all other perceptrons of the image encoder have GELU, this one ReLU
    MemoryAttentionLayer.__init__: nn.ReLU() => nn.GELU()
  no_dropout_by_default | training and evaluation | evaluation cannot tell
    MemoryAttentionLayer.__init__: dropout=0.1 => dropout=0.0
  no_dropout_inside_the_perceptron | dropout | the one between the two linears is the fourth of the layer
    MemoryAttentionLayer._transform: self.dropout(self.activation(linear(self.linear1, layer_norm(self.norm3, x))))
      => self.activation(linear(self.linear1, layer_norm(self.norm3, x)))
  drops_the_sum | dropout | what was gathered is dropped, never what it is added to
    MemoryAttentionLayer.forward_self_attention:
      tgt + self.dropout1(self._attend_to_itself(layer_norm(self.norm1, tgt), query_pos))
      => self.dropout1(tgt + self._attend_to_itself(layer_norm(self.norm1, tgt), query_pos))
  shortcut_after_norm | residual from elsewhere | post-norm habits: the shortcut starts after the norm
    MemoryAttentionLayer._transform: x + self.dropout3(linear(self.linear2, hidden))
      => layer_norm(self.norm3, x) + self.dropout3(linear(self.linear2, hidden))
""")
