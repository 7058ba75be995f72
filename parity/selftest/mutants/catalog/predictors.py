"""Bugs in the predictors of pictures: what happens before and after a model."""

from parity.selftest.mutants.table import table

MUTANTS = table("""
SAMModel in samblocks/predict/resize.py
  centre_of_corners | resampling | pixels are areas, not points: half a pixel is missing | cases: predictor_click
    _taps: (np.arange(after) + 0.5) * scale => np.arange(after) * scale
  not_smoothed | resampling | support does not grow where pictures shrink, as OpenCV's does not | cases:
      predictor_box
    _taps: max(scale, 1.0) => 1.0
  rounded_down | resampling | the half that makes a shift a rounding | cases: predictor_click
    _resized_rows: 1 << _BITS - 1 => 0
  sides_cut_off | fitting size | sides are rounded, not cut | cases: predictor_blue_first
    fitting_size: int(height * scale + 0.5) => int(height * scale)
    fitting_size: int(width * scale + 0.5) => int(width * scale)

SAMModel in samblocks/predict/transforms.py
  scaled_by_the_ratio | fitting size | one ratio for both sides, not the rounded sides' own | cases:
      predictor_coordinates
    ResizeLongestSide._scale: (width / old_width, height / old_height)
      => (self.target_length / max(original_size),) * 2
  height_for_width | axes of coordinates | coordinates are (x, y), sizes (height, width) | cases:
      predictor_coordinates, predictor_click
    ResizeLongestSide._scale: (width / old_width, height / old_height)
      => (height / old_height, width / old_width)

SAMModel in samblocks/predict/drivers.py
  rounded_before_scaled | rounding of coordinates | points are rounded once, after they were scaled | cases:
      predictor_coordinates
    SAMDriver.reads: torch.float64 => torch.float32
  padded_picture_enlarged | crop of masks | the padding is cut off before masks get the picture's size | cases:
      predictor_click
    SAMDriver.enlarge: inside => self._model.prompt_encoder.input_image_size
  enlarged_in_one_step | crop of masks | SAM 2's way: one resizing, of what the picture took up | cases:
      predictor_click
    SAMDriver.enlarge: self._model.postprocess_masks(wide, inside, original)
      => torch.nn.functional.interpolate(wide, original, mode="bilinear", align_corners=False)
  boxes_as_points | corners of boxes | SAM 2's way: corners among the points | cases: predictor_box
    SAMDriver._decode: points=prompts.points => points=_corners_first(prompts)
    SAMDriver._decode: boxes=prompts.boxes => boxes=None
  earlier_logits_lost | earlier logits | a prompt that is accepted and not passed on | cases: predictor_mask
    SAMDriver._decode: prompts.masks => None

SAMModel in samblocks/predict/pictures.py
  blue_first_not_turned | channels | OpenCV reads blue first | cases: predictor_blue_first
    as_rgb: values = values[..., ::-1] => pass

SAM2Model in samblocks/predict/transforms.py
  levels_not_divided | normalisation | means are for 0 to 1 | cases: predictor_click
    SAM2Transforms.__call__: pixels / 255 => pixels
  normalised_before_resized_edges | normalisation | the mean is taken out after the division | cases:
      predictor_click
    SAM2Transforms.__call__: (pixels - mean) / std => pixels / std - mean
  longest_side_fits | stretch to a square | SAM's way: the picture keeps its shape | cases: predictor_click
    SAM2Transforms.transform_coords: torch.stack((coords[..., 0] / width, coords[..., 1] / height), dim=-1)
      => coords / max(height, width)
  one_rounding | rounding of coordinates | one multiplication in the place of division and multiplication |
      cases: predictor_coordinates
    SAM2Transforms.transform_coords: torch.stack((coords[..., 0] / width, coords[..., 1] / height), dim=-1)
      => coords * (torch.tensor([self.resolution / width, self.resolution / height])) / self.resolution

SAM2Model in samblocks/predict/resize.py
  not_smoothed_by_torch | resampling | torch does not smooth unless it is told to | cases: predictor_single,
      predictor_square
    resize_smooth: antialias=True => antialias=False

SAM2Model in samblocks/predict/drivers.py
  empty_memory_left_out | embedding left out | a picture alone has an embedding in the place of memory | cases:
      predictor_click
    SAM2Driver.encode: coarse + self._model.no_mem_embed => coarse
  corners_behind_clicks | corners of boxes | boxes come before the clicks | cases: predictor_coordinates
    _corners_first: torch.cat((corners, coords), dim=1) => torch.cat((coords, corners), dim=1)
    _corners_first: torch.cat((kinds, labels), dim=1) => torch.cat((labels, kinds), dim=1)
  corners_alike | corners of boxes | the bottom right corner has a label of its own | cases: predictor_box
    _corners_first: [[2, 3]] => [[2, 2]]
  boxes_to_the_encoder | corners of boxes | SAM's way: no padding point behind a box | cases: predictor_box
    SAM2Driver.decode: points=_corners_first(prompts) => points=prompts.points
    SAM2Driver.decode: boxes=None => boxes=prompts.boxes
  maps_left_out | high resolution | the decoder works without them, only coarser | cases: predictor_click
    SAM2Driver.decode: [level[index].unsqueeze(0) for level in features["high_res_feats"]] => None

SAM2Model in samblocks/predict/image.py
  never_clamped | clamp of logits | low-resolution logits are cut to 32 before they are given back | cases:
      predictor_clamp
    ImagePredictor._logits: low_res = low_res.clamp(-_CLAMP, _CLAMP) =>
  clamped_before_enlarged | clamp of logits | masks are made of what is not cut | cases: predictor_clamp
    ImagePredictor._logits: low_res.to(at_least_float32(low_res.dtype))
      => low_res.to(at_least_float32(low_res.dtype)).clamp(-_CLAMP, _CLAMP)
  holes_stay | cleaning | an argument that is accepted and not passed on | cases: predictor_holes
    ImagePredictor._logits: self.max_hole_area => 0.0
  specks_stay | cleaning | holes are filled, specks forgotten | cases: predictor_holes
    ImagePredictor._logits: self.max_sprinkle_area => 0.0
  cleaned_logits_given_back | cleaning | what is given back is what the model said | cases: predictor_holes
    ImagePredictor._logits: low_res = low_res.clamp(-_CLAMP, _CLAMP)
      => low_res = cleaned.clamp(-_CLAMP, _CLAMP)
  first_of_several | number of masks | of several pictures the last one answers | cases: predictor_pictures
    ImagePredictor.predict: self._answer(-1, (point_coords, point_labels, box, mask_input), multimask_output,
      return_logits, normalize_coords)
      => self._answer(0, (point_coords, point_labels, box, mask_input), multimask_output, return_logits,
      normalize_coords)
  threshold_forgotten | threshold of masks | a threshold that is set and not used | cases: predictor_threshold
    ImagePredictor._threshold: self.mask_threshold or float(getattr(self.model, "mask_threshold", 0.0))
      => float(getattr(self.model, "mask_threshold", 0.0))

SAMModel in samblocks/predict/image.py
  multimask_ignored | number of masks | three masks, or one | cases: predictor_box
    ImagePredictor._logits: self._driver.decode(self._features, index, prompts, multimask)
      => self._driver.decode(self._features, index, prompts, True)
""")
