"""Bugs that only fast paths can have: in what is cut, and in values that are projected last."""

from parity.selftest.mutants.table import table

MUTANTS = table("""
RoPEAttention in samblocks/blocks/rope.py
  bias_of_narrow_values_missing | narrow values | the weights sum to one, so that the bias of the values comes
      through whole
    RoPEAttention._gather_narrow: linear(self.v_proj, attend_narrow(q, k, v))
      => attend_narrow(q, k, v) @ self.v_proj.weight.mT
  pointers_turned_in_place | narrow values | pointers come last, and have no place
    RoPEAttention._gather_narrow: k[:, :rotated] => k[:, -rotated:]

RoPEAttention in samblocks/ops/attend_narrow.py
  scale_of_narrow_values | narrow values | keys and values have different widths here
    attend_narrow: q.shape[2] => v.shape[2]
  values_of_the_first_item | narrow values | tracking mostly has one object
    attend_narrow: v[item] => v[0]

MultiScaleBlock in samblocks/blocks/hiera.py
  cut_through_windows | cut in chunks | what looks at each other must stay together | chunks
    MultiScaleBlock._rows_at_once: rows_at_once(x, 4 * self.dim_out, self.window_size)
      => rows_at_once(x, 4 * self.dim_out, self.window_size // 2)

MultiScaleBlock in samblocks/ops/chunking.py
  rows_of_a_piece_reversed | rows of another piece | rows of a piece in another order | chunks
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

Block in samblocks/blocks/vit.py
  cut_through_windows | cut in chunks | windows must stay together | chunks
    Block.forward: rows_at_once(x, 4 * x.shape[-1], max(self.window_size, 1))
      => rows_at_once(x, 4 * x.shape[-1])

SAM2MaskDecoder in samblocks/models/sam2/mask_decoder.py
  first_image_for_all_prompts | cut in chunks | there may be an image for each prompt | chunks
    SAM2MaskDecoder.predict_masks: for_prompts("image_embeddings", image_embeddings, prompts, copies=repeat_image)
      => for_prompts("image_embeddings", image_embeddings[:1], prompts, copies=repeat_image)

MaskDecoder in samblocks/models/decoder_parts.py
  first_mask_prompt_for_all | cut in chunks | each piece has maps of its own | chunks
    decode_in_chunks: zip(*(torch.split(x, step) for x in inputs), strict=True)
      => ((x[:step], *(y[:step] for y in inputs[1:])) for x in torch.split(inputs[0], step))

REAttention in samblocks/ops/attend_with_rel_pos.py
  bias_of_the_first_head | swapped axes of relative positions | one head at a time, with its own terms |
      chunks
    attend_with_rel_pos: columns[item, head, places] => columns[item, 0, places]
  queries_of_one_row | ragged chunks | a chunk has as many rows as fit, not one | ragged
    attend_with_rel_pos: slice(top * width, (top + step) * width) => slice(top * width, top * width + width)
  bias_of_the_first_rows | rows of another piece | each piece has rows of its own | chunks
    attend_with_rel_pos: rows[item, head, places] => rows[item, head, : step][: bias.shape[0]]
""")
