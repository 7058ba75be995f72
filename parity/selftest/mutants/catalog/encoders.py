"""Bugs in the convolutional blocks of the memory and in the image encoders."""

from parity.selftest.mutants.table import table

MUTANTS = table("""
MaskDownSampler in samblocks/blocks/mask.py
  no_smoothing | smoothing | interpolate's default; it matters only where a mask shrinks
    MaskDownSampler.forward: antialias=True => antialias=False
  aligned_corners | align_corners | the default of older releases and of other frameworks
    MaskDownSampler.forward: align_corners=False => align_corners=True
  bicubic | resize mode | the image encoder's table is resized so, masks are not
    MaskDownSampler.forward: mode="bilinear" => mode="bicubic"
  activation_before_norm | activation order | which of two steps comes first
    MaskDownSampler.__init__: LayerNorm2d(wider) => activation()
    MaskDownSampler.__init__: activation() => LayerNorm2d(wider)
  activation_at_the_end | activation order | the last convolution is a projection, no step
    MaskDownSampler.__init__: self.encoder.append(nn.Conv2d(channels, embed_dim, kernel_size=1))
      => self.encoder.append(nn.Conv2d(channels, embed_dim, kernel_size=1)); self.encoder.append(activation())

CXBlock in samblocks/blocks/mask.py
  tanh_gelu | tanh GELU | other ports of ConvNeXt use the approximation
    CXBlock.__init__: nn.GELU() => nn.GELU(approximate="tanh")
  eps_of_layer_norm | eps of convolutional norms | torch's own default epsilon
    CXBlock.__init__: LayerNorm2d(dim) => LayerNorm2d(dim, eps=1e-5)
  no_layer_scale | layer scale | scales that begin at 1e-6 hide everything about them
    CXBlock.forward: branch = self.gamma * branch =>
  layer_scale_on_sum | layer scale | the scale is for the branch, not for the sum
    CXBlock.forward: self.gamma * branch
      => self.gamma * (branch + x.permute(0, 2, 3, 1)) - x.permute(0, 2, 3, 1)

Fuser in samblocks/blocks/mask.py
  one_layer_for_all | shared layers | the same module several times: names and shapes of the state dict are
      right
    Fuser.__init__: copy.deepcopy(layer) => layer
  projection_unused | missing term | made, loaded, and never called
    Fuser.forward: x = self.proj(x) =>
  layers_backwards | order of layers | layers made alike hide their order
    Fuser.forward: self.layers => reversed(self.layers)

ImageEncoderViT in samblocks/models/sam1/image_encoder.py
  global_blocks_off_by_one | global blocks | blocks counted from 1
    ImageEncoderViT.__init__: i in global_attn_indexes => i + 1 in global_attn_indexes
  positions_bilinear | resize mode | tables of positions are resized smoothly elsewhere
    _resized_nearest: mode="nearest" => mode="bilinear"
  positions_left_out | embedding left out | a table that begins at zero hides that it is not added
    ImageEncoderViT._encode: self.pos_embed is not None => self.pos_embed is None
  positions_transposed | positions of tokens | square tables hide which axis is which
    ImageEncoderViT._encode: _resized_nearest(self.pos_embed, (x.shape[1], x.shape[2]))
      => _resized_nearest(self.pos_embed.transpose(1, 2), (x.shape[1], x.shape[2]))

TinyViT in samblocks/models/tiny_vit/blocks.py
  qkv_of_all_heads | order of q, k, v and heads | ViT stores q of all heads side by side, TinyViT q, k and v
      of one head
    Attention.forward: linear(self.qkv, layer_norm(self.norm, x)).reshape(batch, tokens, self.num_heads, 2 *
      self.key_dim + self.d)
      => linear(self.qkv, layer_norm(self.norm, x)).reshape(batch, tokens, 3, self.num_heads, self.key_dim)
    Attention.forward: torch.split(qkv.transpose(1, 2), [self.key_dim, self.key_dim, self.d], dim=-1)
      => qkv.permute(2, 0, 3, 1, 4).unbind(0)
  biases_transposed | relative positions | distances numbered by column, in square windows
    number_distances: abs(y - v) * width + abs(x - u) => abs(x - u) * width + abs(y - v)
  convolution_with_shortcut | residual too many | the convolution between attention and perceptron is the only
      step without a shortcut
    TinyViTBlock.forward: self.local_conv(grid.permute(0, 3, 1, 2))
      => grid.permute(0, 3, 1, 2) + self.local_conv(grid.permute(0, 3, 1, 2))
  attention_without_norm | missing norm | the norm belongs to the attention here, not to the block
    Attention.forward: layer_norm(self.norm, x) => x

TinyViT in samblocks/models/tiny_vit/convs.py
  width_of_5m_alone | widths of the last stage | the smallest model's width, which is the only one at hand |
      cases: wide_448
    <module>: (320, 448, 576) => (320, 576)
  width_of_21m_missing | widths of the last stage | the largest has another one | cases: wide_576
    <module>: (320, 448, 576) => (320, 448)
  activation_before_sum | activation order | the activation follows the sum, unlike everywhere else
    MBConv._convolve: self.act3(x + self.drop_path(branch)) => x + self.drop_path(self.act3(branch))
  last_stage_halves | stride | the classifier that it was made from halves in every stage
    merging_stride: 1 if out_dim in NO_STRIDE_DIMS else 2 => 2
  batch_norm_eps | eps of convolutional norms | the default of other frameworks
    Conv2d_BN.__init__: nn.BatchNorm2d(b) => nn.BatchNorm2d(b, eps=1e-3)

Hiera in samblocks/models/sam2/hiera.py
  global_blocks_off_by_one | global blocks | blocks counted from 1
    Hiera.__init__: index in global_att_blocks => index + 1 in global_att_blocks
  window_keeps_up_with_stage | off by one | the first block of a stage still has the windows of the stage
      before
    Hiera.__init__: window_spec[stage] => window_spec[stage + (index - 1 in self.stage_ends)]
  window_table_stretched | repetition | the window's table is repeated as a whole, not each of its cells
    Hiera._get_pos_embed: window.repeat(1, 1, 1, width // columns)
      => window.repeat_interleave(width // columns, 3)
  drop_path_never_reaches_its_rate | off by one | a row of n numbers has n - 1 steps
    _drop_path_rates: max(depth - 1, 1) => depth

Hiera in samblocks/ops/bicubic.py
  positions_bilinear | positions of the trunk | bicubic is used here alone
    _weights: mode="bicubic" => mode="bilinear"
  positions_aligned_corners | align_corners | for a table of positions it looks right
    _weights: mode="bicubic" => mode="bicubic", align_corners=True
  positions_bilinear_plainly | positions of the trunk | the same where bits are asked for | plain
    resize_bicubic: mode="bicubic" => mode="bilinear"

FpnNeck in samblocks/models/sam2/image_encoder.py
  sum_for_mean | fusion | the option that no released model uses
    FpnNeck.fuse: fused = fused / 2 =>
  aligned_corners | align_corners | the default of older releases and of other frameworks
    FpnNeck._double: None if self.fpn_interp_model == "nearest" else False
      => None if self.fpn_interp_model == "nearest" else True
  levels_off_by_one | off by one | levels counted from 1, or from the other end
    FpnNeck.fuse: level in self.fpn_top_down_levels => level + 1 in self.fpn_top_down_levels
  coarser_before_fusion | fusion | what goes down is the fused map, not the lateral one
    FpnNeck.fuse: coarser = fused => coarser = lateral_conv(xs[level])

ImageEncoder in samblocks/models/sam2/image_encoder.py
  finest_level_left_out | levels | which end of the list is coarse
    ImageEncoder._levels: maps[: -self.scalp], encodings[: -self.scalp]
      => maps[self.scalp :], encodings[self.scalp :]
  features_are_the_finest | levels | which end of the list is coarse
    ImageEncoder._levels: maps[-1] => maps[0]
  codes_of_all_levels | levels | one of two lists is cut
    ImageEncoder._levels: encodings[: -self.scalp] => encodings
""")
