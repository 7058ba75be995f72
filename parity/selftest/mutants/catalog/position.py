"""Bugs in encodings of positions, and in prompts as tokens."""

from parity.selftest.mutants.table import table

MUTANTS = table("""
PositionEmbeddingSine in samblocks/ops/sine.py
  columns_first | x and y of encodings | x before y, as in coordinates; here y comes first
    sine_grid.make: (rows, columns) => (columns, rows)
  counts_from_zero | half pixels and counts | rows are counted from 1, being a cumulative sum of ones
    sine_grid.encode_axis: torch.arange(1, length + 1, dtype=dtype, device=device)
      => torch.arange(length, dtype=dtype, device=device)
  no_eps_in_normalization | eps | 1e-6 beside the number of rows looks like nothing
    sine_grid.encode_axis: positions[-1:] + 1e-6 => positions[-1:]
  sines_then_cosines | sines and cosines | the two common layouts of sine encodings: in turn, or in blocks
    sine_interleaved: torch.stack((angles[..., 0::2].sin(), angles[..., 1::2].cos()), dim=-1).flatten(-2)
      => torch.cat((angles[..., 0::2].sin(), angles[..., 1::2].cos()), dim=-1)

PositionEmbeddingSine in samblocks/blocks/position.py
  boxes_x_first | x and y of encodings | x before y, in a method that tests of maps never call
    PositionEmbeddingSine.encode_boxes: (encode_y, encode_x, h[:, None], w[:, None])
      => (encode_x, encode_y, h[:, None], w[:, None])

PositionEmbeddingRandom in samblocks/ops/fourier.py
  pixel_corners | half pixels and counts | the corner of a pixel in the place of its centre
    pixel_centres: torch.arange(height, dtype=dtype, device=device) + 0.5
      => torch.arange(height, dtype=dtype, device=device) + 0.0
  cosines_first | sines and cosines | a random matrix makes both orders look alike
    fourier_features: (angles.sin(), angles.cos()) => (angles.cos(), angles.sin())
  half_a_turn | angles | the factor 2 occurs twice, and is dropped once
    fourier_features: 2 * math.pi => math.pi
  not_centred | angles | the unit square is not moved to [-1, 1]
    fourier_features: 2 * coords.to(dtype) - 1 => coords.to(dtype)

PositionEmbeddingRandom in samblocks/blocks/position.py
  size_as_width_height | x and y of encodings | points are (x, y), sizes are (height, width)
    PositionEmbeddingRandom.forward_with_coords: height, width = image_size => width, height = image_size

get_1d_sine_pe in samblocks/ops/sine.py
  cosines_first | sines and cosines | the order of the two blocks
    get_1d_sine_pe: (angles.sin(), angles.cos()) => (angles.cos(), angles.sin())
  in_turn | sines and cosines | in turn, as in the other encoding of the same file
    get_1d_sine_pe: torch.cat((angles.sin(), angles.cos()), dim=-1)
      => torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)
  temperature_ignored | angles | an argument that is always left at its default
    get_1d_sine_pe: sine_periods(dim // 2, temperature, dtype=dtype, device=pos_inds.device)
      => sine_periods(dim // 2, 10000, dtype=dtype, device=pos_inds.device)
  every_channel_its_period | angles | sine and cosine share a period in pairs; the rounding looks superfluous
    sine_periods: 2 * torch.div(index, 2, rounding_mode="floor") => index

PromptEncoder in samblocks/models/prompt_encoder.py
  points_at_corners | half pixels and counts | clicks belong to the middle of a pixel
    PromptEncoder._embed_points: _widened(points) + 0.5 => _widened(points)
  boxes_at_corners | half pixels and counts | boxes are shifted by half a pixel like clicks
    PromptEncoder._embed_boxes: _widened(boxes) + 0.5 => _widened(boxes)
  pads_beside_boxes | padding point | the padding point is for prompts without a box alone
    PromptEncoder.forward: pad=boxes is None => pad=True
  padding_is_background | padding point | zero, F.pad's default, is the label of a background point
    PromptEncoder._embed_points: value=NOT_A_POINT =>
  padding_keeps_its_place | padding point | for other labels embedding and place are added; here the place is
      left out
    PromptEncoder._embed_points: torch.where(kind == NOT_A_POINT, self.not_a_point_embed.weight, out)
      => torch.where(kind == NOT_A_POINT, out + self.not_a_point_embed.weight, out)
  corners_swapped | point labels | which corner is 2 and which is 3
    PromptEncoder._embed_boxes: [self._point_embedding(TOP_LEFT), self._point_embedding(BOTTOM_RIGHT)]
      => [self._point_embedding(BOTTOM_RIGHT), self._point_embedding(TOP_LEFT)]
  object_and_background_swapped | point labels | embedding 0 is taken for the object's
    PromptEncoder._embed_points: self._point_embedding(label)
      => self._point_embedding(1 - label if label < 2 else label)
  corners_always_embedded | point labels | SAM 1 gives points with a corner's label the place alone
    PromptEncoder._embed_points: len(self.point_embeddings) if self.embed_corner_labels else TOP_LEFT
      => len(self.point_embeddings) if True else TOP_LEFT
  mask_size_swapped | height and width | square images hide which is which
    PromptEncoder.set_sizes: (4 * height, 4 * width) => (4 * width, 4 * height)
  masks_resized_to_nearest | resize mode | interpolate's default, good enough for masks of zeros and ones
    PromptEncoder._embed_masks: mode="bilinear" => mode="nearest"
  dense_grid_swapped | height and width | square maps hide which is which
    PromptEncoder.get_dense_pe: (height, width) => (width, height)
""")
