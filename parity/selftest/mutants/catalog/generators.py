"""Bugs in mask generators, and in what they are made of."""

from parity.selftest.mutants.table import table

MUTANTS = table("""
blobs_by_sam in samblocks/predict/nms.py
  ties_from_behind | order of suppression | among equal scores the first box is the better one | cases: crops,
      nobody_is_judged
    nms: scores.sort(descending=True, stable=True).indices
      => len(scores) - 1 - scores.flip(0).sort(descending=True, stable=True).indices
  worst_first | order of suppression | the sorting's default is the other way round | cases: crops
    nms: descending=True => descending=False
  pixels_counted | overlap of boxes | boxes are ends of pixels, but their areas are differences |
      cases: nobody_is_judged
    _greedy: (x1 - x0) * (y1 - y0) => (x1 - x0 + 1) * (y1 - y0 + 1)
  smaller_area | overlap of boxes | another measure of overlap, by the smaller box | cases: crops
    _greedy: areas[rows] + areas[start:] - shared => np.minimum(areas[rows], areas[start:])
  apart_and_still_overlapping | overlap of boxes | two negative sides have a positive product |
      cases: nobody_is_judged
    _greedy: np.maximum(width, 0) * np.maximum(height, 0) => width * height
  first_boxes_alone | order of suppression | boxes are looked at some at a time | cases: many
    _greedy: alive.nonzero() => alive[:_AT_ONCE].nonzero()

blobs_by_sam in samblocks/predict/crops.py
  y_fastest | grids of points | points are written row by row | cases: nobody_is_judged
    build_point_grid: [np.tile(side, n_per_side), np.repeat(side, n_per_side)]
      => [np.repeat(side, n_per_side), np.tile(side, n_per_side)]
  as_many_points | grids of points | a layer's rows have fewer points than those of the one before |
      cases: two_layers
    build_all_layer_point_grids: scale_per_layer**layer => 1
  overlap_of_the_longer_side | overlapping crops | overlap is a share of the shorter side | cases: two_layers
    generate_crop_boxes: min(height, width) => max(height, width)
  overlap_not_halved | overlapping crops | it halves from one layer to the next | cases: two_layers
    generate_crop_boxes: overlap_ratio * min(height, width) * 2 / per_side => overlap_ratio * min(height, width)
  rounded_down | overlapping crops | sides of crops are rounded up | cases: two_layers
    generate_crop_boxes: math.ceil((overlap * (per_side - 1) + height) / per_side)
      => math.floor((overlap * (per_side - 1) + height) / per_side)
  picture_cuts_too | edges of crops | at the picture's own edges nothing is cut | cases: crops
    is_box_near_crop_edge: near(crop_box) & ~near(orig_box) => near(crop_box)
  nothing_is_cut | edges of crops | what a crop's edge has cut is found whole in another | cases: crops
    is_box_near_crop_edge: near(crop_box) & ~near(orig_box) => near(crop_box) & ~near(crop_box)

is_box_near_crop_edge in samblocks/predict/crops.py
  beyond_the_edge | edges of crops | as near as 20 pixels is near | cases: picture
    is_box_near_crop_edge: (in_picture - boxes.new_tensor(edges)).abs() <= EDGE
      => (in_picture - boxes.new_tensor(edges)).abs() < EDGE
  all_sides | edges of crops | one side is enough | cases: picture
    is_box_near_crop_edge: (near(crop_box) & ~near(orig_box)).any(1)
      => (near(crop_box) & ~near(orig_box)).all(1)

generate_crop_boxes in samblocks/predict/crops.py
  crops_row_by_row | overlapping crops | crops are taken column by column, and ties follow their order |
      cases: picture
    generate_crop_boxes: ((crop_width - overlap) * column, (crop_height - overlap) * row)
      => ((crop_width - overlap) * row, (crop_height - overlap) * column)

blobs_by_sam in samblocks/predict/measures.py
  against_the_mask_itself | filters of candidates | the threshold is moved in both directions | cases: crops
    calculate_stability_score: (threshold_offset, -threshold_offset) => (threshold_offset, 0.0)
  ends_excluded | boxes of masks | the last column is the box's own | cases: nobody_is_judged
    batched_mask_to_box: along.shape[-1] - 1 - along.flip(-1).argmax(-1)
      => along.shape[-1] - along.flip(-1).argmax(-1)
  empty_mask_is_everywhere | boxes of masks | an empty mask has a box of zeros | cases: nobody_is_judged
    batched_mask_to_box: torch.stack([left, top, right, bottom], -1) * columns.any(-1, keepdim=True)
      => torch.stack([left, top, right, bottom], -1)

batched_mask_to_box in samblocks/predict/measures.py
  rows_first | boxes of masks | boxes are x before y | cases: blotted
    batched_mask_to_box: [left, top, right, bottom] => [top, left, bottom, right]

blobs_by_sam in samblocks/predict/candidates.py
  quality_may_be_equal | filters of candidates | the predicted quality must be above its threshold |
      cases: just_the_threshold
    judge: predicted_iou > thresholds.predicted_iou => predicted_iou >= thresholds.predicted_iou
  stability_must_be_more | filters of candidates | stability may be equal to its threshold |
      cases: just_the_threshold
    judge: stability >= thresholds.stability => stability > thresholds.stability
  stability_before_nothing | filters of candidates | unjudged empty masks stay, whose stability is no number |
      cases: nobody_is_judged
    judge: thresholds.stability > 0 => True
  boxes_of_the_crop | places of records | boxes are moved to where the crop is | cases: crops
    judge: boxes[kept].cpu() + corner.repeat(2) => boxes[kept].cpu()
  points_of_the_crop | places of records | so are points | cases: crops
    judge: points[kept.to(points.device)].cpu() + corner => points[kept.to(points.device)].cpu()
  large_crops_preferred | order of suppression | of duplicates that from the smaller crop stays | cases: crops
    Candidates.prefer_small_crops: 1 / areas => areas.float()
  islands_before_holes | regions of whole masks | a filled hole may save an island | cases: regions
    Candidates.without_small_regions: 'holes' => 'islands'
    Candidates.without_small_regions: mask, cleared = remove_small_regions(mask, area, 'islands')
      => mask, cleared = remove_small_regions(mask, area, 'holes')
  changed_masks_as_good | regions of whole masks | masks that were left as they were come first |
      cases: regions
    Candidates.without_small_regions: 0.0 => 1.0
  boxes_before_cleaning | regions of whole masks | a cleaned mask has another box | cases: regions
    Candidates.without_small_regions: batched_mask_to_box(mask) => boxes[place]

blobs_by_sam in samblocks/predict/generator.py
  quality_of_sam_2 | defaults of families | the families differ in one default | cases: own_points
    SamAutomaticMaskGenerator.__init__: pred_iou_thresh => None
  scaled_by_the_picture | places of records | points are scaled by their crop's size | cases: crops
    MaskGenerator._at_points: (crop[3] - crop[1], crop[2] - crop[0]) => size
  smaller_threshold | regions of whole masks | the larger of two thresholds holds at the end |
      cases: regions_in_crops
    MaskGenerator.generate: max(self.box_nms_thresh, self.crop_nms_thresh)
      => min(self.box_nms_thresh, self.crop_nms_thresh)
  crops_not_thinned | order of suppression | there are two suppressions, in each crop and among crops |
      cases: crops
    MaskGenerator.generate: len(crops) > 1 => False

blobs_by_sam2 in samblocks/predict/generator.py
  quality_of_sam | defaults of families | the families differ in one default | cases: defaults
    MaskGenerator.__init__: 0.8 => 0.88
  holes_alone | holes and sprinkles | one argument is for both, holes and sprinkles | cases: regions
    MaskGenerator.__init__: self.predictor.max_hole_area = self.predictor.max_sprinkle_area = min_mask_region_area
      => self.predictor.max_hole_area = min_mask_region_area
  mask_not_given_back | masks given back | the point alone gives another mask | cases: given_back
    MaskGenerator._refined: low_res[some] => None
  threshold_of_zero | filters of candidates | masks are cut at the threshold that was given |
      cases: single_masks
    MaskGenerator._at_points: self.mask_threshold => 0.0

remove_small_regions in samblocks/predict/components.py
  no_diagonals_down | connected components | pixels that touch at a corner belong together |
      cases: holes_of_9, islands_of_3
    _Runs.__init__: top_left[:, 1:, 1:] & bottom_right[:, :-1, :-1]
      => top_left[:, 1:, 1:] & bottom_right[:, :-1, :-1] & False
  no_diagonals_up | connected components | in both directions | cases: holes_of_9, islands_of_3
    _Runs.__init__: top_right[:, 1:, :-1] & bottom_left[:, :-1, 1:]
      => top_right[:, 1:, :-1] & bottom_left[:, :-1, 1:] & False
  one_round | connected components | roots are joined until none changes | cases: holes_of_9, islands_of_10000
    _join: len(one) => len(one) and torch.equal(root, torch.arange(len(root)))
  as_small_as | areas of regions | regions of the area itself stay | cases: holes_of_9, islands_of_3
    remove_small_regions: areas < area_thresh => areas <= area_thresh
  all_islands_go | areas of regions | where all are small the largest stays | cases: islands_of_10000
    remove_small_regions: torch.equal(small, on) => False

clean_logits in samblocks/predict/components.py
  smaller_than | areas of regions | areas of holes and sprinkles are inclusive | cases: blotted
    _small: areas <= max_area => areas < max_area
  sprinkles_afterwards | holes and sprinkles | sprinkles are those of the mask before holes were filled |
      cases: blotted
    clean_logits: logits > threshold => cleaned > threshold
  ten_from_zero | holes and sprinkles | the new logits are ten from the threshold | cases: blotted
    clean_logits: threshold + 10.0 => 10.0

fill_holes in samblocks/predict/components.py
  background_below_zero | holes and sprinkles | a logit of zero is background | cases: blotted
    fill_holes: logits <= threshold => logits < threshold

run_lengths in samblocks/predict/rle.py
  row_by_row | run lengths | pixels are taken column by column | cases: blotted
    encode: on.mT => on
  foreground_first | run lengths | the first run is background, of length zero where there is none |
      cases: blotted
    _lengths: [0, *lengths] => lengths
""")
