"""Bugs that only fast paths can have: in what is cut, and in values that are projected last."""

from parity.selftest.mutants.table import table

MUTANTS = table("""
RoPEAttention in samblocks/blocks/rope.py
  bias_of_narrow_values_missing | narrow values | the weights sum to one, so that the bias of the values comes
      through whole
    RoPEAttention._gather_narrow: linear(self.v_proj, gathered)
      => gathered @ self.v_proj.weight.mT
  pointers_turned_in_place | narrow values | pointers come last, and have no place
    RoPEAttention._gather_narrow: k[:, :rotated] => k[:, -rotated:]

RoPEAttention in samblocks/ops/attend_narrow.py
  scale_of_narrow_values | narrow values | keys and values have different widths here
    attend_narrow: q.shape[2] => v.shape[2]
  values_of_the_first_item | narrow values | tracking mostly has one object
    attend_narrow: v[item] => v[0]
  each_tile_by_its_own_largest | narrow values | the weights of all tiles are by one reference | chunks
    _gather: largest is None => True

MemoryAttention in samblocks/models/sam2/memory.py
  self_attention_again | objects of one frame | the first self attention is done for all objects at once | chunks
    MemoryAttention._attend:
      cast(MemoryAttentionLayer, layer).forward_cross_attention if seen and number == 0 else layer => layer
  objects_of_other_frames_shared | objects of one frame | items of a batch may be other frames | chunks
    MemoryAttention._all_see_one_frame: all(x.stride(0) == 0 for x in frame) => True

MultiScaleBlock in samblocks/blocks/hiera.py
  cut_through_windows | cut in chunks | what looks at each other must stay together | chunks
    MultiScaleBlock._rows_at_once: rows_at_once(x, 4 * self.dim_out, self.window_size)
      => rows_at_once(x, 4 * self.dim_out, self.window_size // 2)

MultiScaleBlock in samblocks/ops/chunking.py
  rows_of_a_chunk_reversed | rows of another chunk | rows of a chunk in another order | chunks
    in_chunks: out[:, index * rows : index * rows + done.shape[1]] = done
      => out[:, index * rows : index * rows + done.shape[1]] = done.flip(1)
  rows_that_are_no_windows | ragged chunks | as many rows as fit, though windows must stay whole | cases:
      several_windows | ragged
    rows_at_once: side * max(sizes.chunk // size, -(-sizes.tokens // tokens), 1)
      => max(side, side * sizes.chunk // size)
  smaller_last_chunk_left_out | ragged chunks | what is left after whole chunks | cases: several_windows |
      ragged
    in_chunks: torch.split(x[:, step:], step, dim=1)
      => torch.split(x[:, step : x.shape[1] // step * step], step, dim=1)

Block in samblocks/ops/windows.py
  padding_projected_to_nothing | windows padded late | zeros, projected, are the bias
    cut_into_windows: 0.0 if padding is None else padding => 0.0
  padding_right_only | windows padded late | what a fresh tensor holds below is chance
    cut_into_windows: region[..., high:, :, :] = filling => region[..., high:, :, :] = 0
  padding_kept_by_row | windows padded late | the last window of a row is narrower
    join_windows: region[..., :high, :wide, :] => region[..., -high:, :wide, :]

Block in samblocks/blocks/vit.py
  cut_through_windows | cut in chunks | windows must stay together | chunks
    Block.forward: rows_at_once(x, 4 * x.shape[-1], max(self.window_size, 1))
      => rows_at_once(x, 4 * x.shape[-1])

TinyViT in samblocks/models/tiny_vit/convs.py
  mean_left_out | folded norms | a norm has a mean, too
    Conv2d_BN.forward: norm.bias - cast(Tensor, norm.running_mean) * factor => norm.bias
  folded_without_eps | folded norms | the usual way to fold is by the variance
    Conv2d_BN.forward: torch.rsqrt(cast(Tensor, norm.running_var) + norm.eps)
      => torch.rsqrt(cast(Tensor, norm.running_var))
  rows_without_margin | cut in chunks | the depthwise convolution looks at the rows beside | chunks
    MBConv.forward: in_chunks_with_margin(self, self._convolve, grid, step, margin=1)
      => in_chunks_with_margin(self, self._convolve, grid, step, margin=0)

TinyViT in samblocks/models/tiny_vit/blocks.py
  cut_through_windows | windows in chunks | windows must stay together | chunks
    TinyViTBlock.forward: rows_at_once(grid, wide, self.window_size) => rows_at_once(grid, wide)

TinyViT in samblocks/ops/chunking.py
  margin_kept | rows of another chunk | the first rows of a chunk are those of the one before | chunks
    in_chunks_with_margin: function(x[:, first : start + step + margin]).narrow(1, start - first, wanted)
      => function(x[:, first : start + step + margin]).narrow(1, 0, wanted)

SAM2MaskDecoder in samblocks/models/sam2/mask_decoder.py
  first_image_for_all_prompts | cut in chunks | there may be an image for each prompt | chunks
    SAM2MaskDecoder.predict_masks: for_prompts("image_embeddings", image_embeddings, prompts, copies=repeat_image)
      => for_prompts("image_embeddings", image_embeddings[:1], prompts, copies=repeat_image)

MaskDecoder in samblocks/ops/chunking.py
  first_mask_prompt_for_all | cut in chunks | each chunk has maps of its own | chunks
    items_in_chunks: *(None if x is None else x[chunk] for x in inputs)
      => *((inputs[0][chunk], *(x if x is None else x[: len(inputs[0][chunk])] for x in inputs[1:])))

Attention in samblocks/ops/attend_few.py
  scale_of_plain_tokens | projected few | the dot product is that of the narrow vectors | cases:
      downsampled | chunks
    gather_from_many: width**-0.5 => k.shape[2] ** -0.5
  softmax_over_heads_queries | projected few | many queries weigh the few tokens of a head | chunks
    spread: torch.softmax(scores, 2) => torch.softmax(scores, 3)
  output_bias_of_each_head | projected few | the weights of each head sum to one, so that one head brings it |
      chunks
    spread: values[:, 0] += out_bias => values += out_bias

TwoWayAttentionBlock in samblocks/ops/attend_few.py
  queries_without_bias | projected few | for many queries the bias tells keys apart | chunks
    gather_from_few: scores += k @ q_bias.view(heads, width, 1) =>

Attention in samblocks/blocks/attention.py
  bias_of_gathered_values_missing | projected few | it comes through whole, and is added once | chunks
    Attention._project_the_few: merge_heads(gathered) + self.v_proj.bias => merge_heads(gathered)

MaskDecoder in samblocks/blocks/two_way.py
  shared_image_left_out | shared image | what pixels gather is added to them | chunks
    TwoWayAttentionBlock.look_back: keys.add_(image.tokens) => keys
  place_of_shared_image_missing | shared image | keys have a place, values none | chunks
    TwoWayAttentionBlock.share: give.project_keys(placed, image) => give.project_keys(image, image)

MaskDecoder in samblocks/models/decoder_parts.py
  first_prompt_looks_for_all | shared image | each prompt looks for itself | chunks
    look: cast(Any, decoder).transformer.look(how.image, tokens)
      => cast(Any, decoder).transformer.look(how.image, tokens[:1]).expand_as(tokens)

MaskDecoder in samblocks/blocks/attention.py
  shared_scores_without_scale | shared image | what the fused kernel does by itself | chunks
    Attention.spread_shared: keys[item] * width**-0.5 => keys[item]

MaskDecoder in samblocks/models/decoder_masks.py
  blocks_transposed | pixel blocks | the rows of a block are those of its kernel
    masks_of_blocks: blocks.permute(0, 1, 2, 4, 6, 3, 5) => blocks.permute(0, 1, 2, 5, 6, 3, 4)
  smaller_blocks_first | pixel blocks | the last enlargement makes the innermost blocks
    masks_of_blocks: blocks.permute(0, 1, 2, 4, 6, 3, 5) => blocks.permute(0, 1, 2, 6, 4, 3, 5)

SAM2MaskDecoder in samblocks/models/decoder_masks.py
  finer_rows_and_columns | pixel blocks | maps that are added must lie as what they are added to
    in_blocks: (2 + step, 3 + steps + step) => (3 + steps + step, 2 + step)
  finest_map_of_the_first_rows | pixel blocks | each chunk has rows of its own | chunks
    masks_of_blocks: finer[0][:, 16 * start : 16 * (start + step)] => finer[0][:, : x.shape[1]]

SAM2Model in samblocks/models/sam2/image_encoder.py
  inner_bias_not_projected | projected levels | the second convolution sees the first one's bias, too
    _both: outer @ first.bias.double() => first.bias.double()[: outer.shape[0]]
  outer_bias_lost | projected levels | both convolutions have one
    _both: bias + inner => inner
  projections_reversed | projected levels | which level is the finest
    ImageEncoder.forward_projected: enumerate(projections, start=first)
      => enumerate(reversed(projections), start=first)

REAttention in samblocks/ops/attend_with_rel_pos.py
  bias_of_the_first_head | swapped axes of relative positions | one head at a time, with its own terms |
      chunks
    attend_with_rel_pos: columns[item, head, places] => columns[item, 0, places]
  queries_of_one_row | ragged chunks | a chunk has as many rows as fit, not one | ragged
    attend_with_rel_pos: slice(top * width, (top + step) * width) => slice(top * width, top * width + width)
  bias_of_the_first_rows | rows of another chunk | each chunk has rows of its own | chunks
    attend_with_rel_pos: rows[item, head, places] => rows[item, head, : step][: bias.shape[0]]
""")
