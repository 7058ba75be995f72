"""Bugs in what all other blocks rest on: norms, perceptrons, drop path, patches, windows, choice of frames."""

from parity.selftest.mutants.table import table

MUTANTS = table("""
DropPath in samblocks/blocks/common.py
  drops_with_keep_probability | drop probability | the probability of dropping is taken for that of keeping
    DropPath.forward: x.new_empty((x.shape[0],) + (1,) * (x.dim() - 1)).bernoulli_(keep_prob)
      => x.new_empty((x.shape[0],) + (1,) * (x.dim() - 1)).bernoulli_(self.drop_prob)
  multiplies_by_keep_probability | drop probability | kept items are scaled down, as old dropout did at
      inference, not up
    DropPath.forward: keep / keep_prob => keep * keep_prob
  draws_for_each_element | drop mask | dropout in the place of stochastic depth: one draw for each element,
      not for each item
    DropPath.forward: (x.shape[0],) + (1,) * (x.dim() - 1) => x.shape
  always_scales | drop probability | an argument that is accepted and not looked at
    DropPath.forward: keep_prob > 0.0 and self.scale_by_keep => keep_prob > 0.0

LayerNorm2d in samblocks/blocks/common.py
  eps_of_layer_norm | eps | torch's own default epsilon, ten times this one's: the bug that usual tolerances
      pass
    LayerNorm2d.__init__: eps=1e-6 => eps=1e-5

LayerNorm2d in samblocks/ops/norm.py
  no_bias | missing term | default initialisation, a bias of zero, hides that it is never added
    layer_norm_2d: F.layer_norm(x.permute(0, 2, 3, 1), weight.shape, weight, bias, eps)
      => F.layer_norm(x.permute(0, 2, 3, 1), weight.shape, weight, None, eps)
  unbiased_variance | norm statistics | Tensor.var divides by n - 1 unless told otherwise
    layer_norm_2d: return F.layer_norm(x.permute(0, 2, 3, 1), weight.shape, weight, bias, eps).permute(0, 3,
      1, 2)
      => scaled = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True) + eps).sqrt(); return weight[:,
      None, None] * scaled + bias[:, None, None]
  mean_not_taken_out | norm statistics | RMSNorm in the place of LayerNorm
    layer_norm_2d: F.layer_norm(x.permute(0, 2, 3, 1), weight.shape, weight, bias, eps)
      => F.rms_norm(x.permute(0, 2, 3, 1), weight.shape, weight, eps) + bias

MLPBlock in samblocks/blocks/common.py
  tanh_gelu | tanh GELU | the usual GELU of language models is the tanh approximation
    MLPBlock.__init__: act=nn.GELU => act=lambda: nn.GELU(approximate="tanh")
  no_activation | activation | an activation that was made and never called
    MLPBlock.forward: self.act(linear(self.lin1, x)) => linear(self.lin1, x)
  second_layer_without_bias | missing tensor | a bias left out, which loading with strict=False passes over in
      silence
    MLPBlock.__init__: nn.Linear(mlp_dim, embedding_dim) => nn.Linear(mlp_dim, embedding_dim, bias=False)

MLP in samblocks/blocks/common.py
  activation_after_last_layer | activation | off by one: the activation also follows the last layer
    MLP.forward: len(self.layers) - 1 => len(self.layers)
  residual_left_out | residual missing | an option of newer releases that an older copy does not have
    MLP.forward: out + x => out + 0
  norm_result_thrown_away | missing norm | a call whose result is not assigned
    MLP.forward: out = out_norm(out) => out_norm(out)
  sigmoid_before_residual_is_norm | sigmoid | the head gives logits where probabilities are expected
    MLP.forward: out.sigmoid() if getattr(self, "sigmoid", False) else out => out

PatchEmbed in samblocks/blocks/common.py
  axes_swapped | height and width | columns before rows: invisible in the shape of square images
    PatchEmbed.forward: patches.permute(0, 2, 3, 1) => patches.permute(0, 3, 2, 1)
  no_padding | convolution padding | SAM's patches have no padding, Hiera's do
    PatchEmbed.__init__: padding=padding =>
  patches_side_by_side | stride | patches of a plain ViT never overlap, Hiera's do
    PatchEmbed.__init__: stride=stride => stride=kernel_size
  bias_always | missing tensor | an argument that is accepted and not handed on
    PatchEmbed.__init__: bias=bias =>

window_partition in samblocks/ops/windows.py
  columns_first | window order | windows come column by column; a matching mistake on the way back hides it
      inside one library
    window_partition: x.reshape(batch, rows, window_size, columns, window_size, channels).permute(0, 1, 3, 2,
      4, 5)
      => x.reshape(batch, rows, window_size, columns, window_size, channels).permute(0, 3, 1, 2, 4, 5)
  pads_top_left | window padding | F.pad counts from the last axis, each with its front before its back
    window_partition: (0, 0, 0, pad_w, 0, pad_h) => (0, 0, pad_w, 0, pad_h, 0)
  pads_what_fits | window padding | a map that windows tile gets a whole window of zeros
    window_partition: -height % window_size, -width % window_size
      => window_size - height % window_size, window_size - width % window_size

window_unpartition in samblocks/ops/windows.py
  crops_the_wrong_end | window padding | the padding is taken off at the top and the left
    window_unpartition: x[:, :height, :width] => x[:, -height:, -width:]
  columns_first | window order | windows are put back column by column
    window_unpartition: windows.reshape(batch, rows, columns, window_size, window_size, channels)
      => windows.reshape(batch, columns, rows, window_size, window_size, channels).transpose(1, 2)
  rows_and_columns_mixed | window order | a permutation that transposes each window
    window_unpartition: windows.reshape(batch, rows, columns, window_size, window_size, channels).permute(0,
      1, 3, 2, 4, 5)
      => windows.reshape(batch, rows, columns, window_size, window_size, channels).permute(0, 1, 4, 2, 3, 5)

select_closest_cond_frames in samblocks/ops/frames.py
  frame_counts_as_earlier | choice of frames | off by one: the frame itself is before itself
    select_closest_cond_frames: index < frame_idx => index <= frame_idx
  signed_distance | choice of frames | the farthest frame of the past has the smallest distance
    select_closest_cond_frames: abs(index - frame_idx) => index - frame_idx
  first_instead_of_nearest | choice of frames | the first frame with prompts is often the one that is wanted
    select_closest_cond_frames: max(before) => min(before)
  copies_when_all_fit | choice of frames | off by one: as many frames as may be chosen are sorted by distance
    select_closest_cond_frames: len(cond_frame_outputs) <= max_cond_frame_num
      => len(cond_frame_outputs) < max_cond_frame_num
""")
