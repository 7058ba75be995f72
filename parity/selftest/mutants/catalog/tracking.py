"""Bugs in SAM 2's tracker: heads, memory, pointers, choice of frames."""

from parity.selftest.mutants.table import table

MUTANTS = table("""
SAM2Model in samblocks/models/sam2/model.py
  binary_whatever_the_prompt | sigmoid scale | only masks that answer to points are made binary | cases:
      one_object_a_pixel
    SAM2Model._encode_new_memory: config.binarize_mask_from_pts_for_mem_enc and is_mask_from_pts and not
      self.training
      => config.binarize_mask_from_pts_for_mem_enc and not self.training
  overlaps_stay | sigmoid scale | the flag is for evaluation, not for training | cases: one_object_a_pixel
    SAM2Model._encode_new_memory: config.non_overlap_masks_for_mem_enc and not self.training
      => config.non_overlap_masks_for_mem_enc and self.training
  empty_memory_not_marked | embedding left out | frames without memory are told so by an embedding | cases:
      mask_of_one
    SAM2Model._prepare_memory_conditioned_features: features + self.no_mem_embed => features
  absence_mixed_once | absent objects | for a mask prompt it is mixed twice: by the heads' score, and by the
      mask's own verdict | cases: mask_of_one_twice
    SAM2Model._use_mask_as_output: pointer = mix_no_object_pointer(pointer, appears, self.no_obj_ptr,
      fixed=config.fixed_no_obj_ptr) =>
  soft_presence_is_hard | absent objects | the option that no released model uses | cases: soft_pointers
    SAM2Model._forward_sam_heads: scores.sigmoid() => scores > 0
  one_point_is_clear | number of points | off by one: a single click is what is ambiguous | cases:
      released_2.1
    SAM2Model._use_multimask: config.multimask_min_pt_num <= num_points <= config.multimask_max_pt_num
      => config.multimask_min_pt_num <= num_points < config.multimask_max_pt_num
  labels_not_counted | number of points | the released models' minimum is zero | cases: masks_through_decoder
    SAM2Model._use_multimask: config.multimask_min_pt_num <= num_points <= config.multimask_max_pt_num
      => 0 <= num_points <= config.multimask_max_pt_num

SAM2Model in samblocks/models/sam2/memory_bank.py
  no_bias_of_masks | sigmoid scale | 20 and -10 belong together | cases: mask_of_one
    mask_to_remember: masks * scale + bias => masks * scale
  logits_for_probabilities | sigmoid scale | scale and bias are for probabilities | cases: mask_of_one
    mask_to_remember: torch.sigmoid(masks) => masks
  prompted_frames_by_distance | memory temporal index | frames with prompts share the last row, however near
      they are | cases: released_2.1
    memory_sources: config.num_maskmem - 1 => min(abs(frame_idx - frame), config.num_maskmem - 1)
  distance_over_limit | reach of pointers | n frames are n - 1 steps apart | cases: released_2.1
    distance_encodings: max(limit - 1, 1) => limit
  codes_in_blocks | repetition | each code is for the chunks of one pointer, which follow each other | cases:
      released_2.1
    pointers_as_tokens: encodings[:, None].expand(-1, batch, -1).repeat_interleave(chunks, dim=0)
      => encodings[:, None].expand(-1, batch, -1).repeat(chunks, 1, 1)
  mark_on_present_objects | absent objects | which of the two is marked | cases: released_2.1
    mark_absent: 1 - (object_score_logits > 0).to(memory.dtype)
      => (object_score_logits > 0).to(memory.dtype)
  memory_places_left_out | embedding left out | a remembered pixel has a place in the image and one in time |
      cases: released_2.1
    read_memory: place + maskmem_tpos_enc[row] => maskmem_tpos_enc[row].expand_as(place)

SAM2Model in samblocks/models/sam2/frames.py
  row_of_the_next_frame | memory temporal index | off by one: row 0 belongs to the direct neighbour | cases:
      released_2.1
    memory_frames: steps - 1 => steps
  rows_backwards | memory temporal index | whether rows count distance or age | cases: released_2.1
    memory_frames: steps - 1 => num_maskmem - 1 - steps
  stride_from_the_neighbour | memory temporal index | off by one: the direct neighbour is counted apart |
      cases: every_second_memory
    memory_frames: frame_idx - 2 => frame_idx - 1
  reverse_looks_back | reverse tracking | tracked backwards, earlier frames have larger numbers | cases:
      every_second_memory_reverse, all_pointers
    memory_frames: 1 if reverse else -1 => -1
  pointer_filter_ignores_reverse | reverse tracking | in reverse the frames that lie ahead are those with
      smaller numbers | cases: every_second_memory_reverse, code_of_time_as_it_is
    pointer_frames: elapsed < 0 => frame > frame_idx
  pointers_look_forward_in_reverse | reverse tracking | neighbours' pointers come from where tracking came
      from | cases: every_second_memory_reverse
    pointer_frames: frame_idx + backwards * distance => frame_idx - distance
  one_pointer_more | reach of pointers | off by one in the number of pointers | cases: every_second_memory,
      few_prompted_frames
    pointer_frames: range(1, limit) => range(1, limit + 1)
  distance_without_sign | reach of pointers | 2.0 has no sign, 2.1 has | cases: all_pointers
    pointer_frames: elapsed if signed else abs(elapsed) => abs(elapsed)
  future_pointers_kept | reach of pointers | the filter of frames that tracking has not reached | cases:
      few_prompted_frames
    pointer_frames: elapsed < 0 => elapsed < -limit

SAM2Model in samblocks/models/sam2/heads.py
  pointer_kept_in_absence | absent objects | whether the pointer of an absent object is replaced or added to |
      cases: released_2.1
    mix_no_object_pointer: pointer = presence * pointer =>
  absent_masks_kept | absent objects | masks of absent objects are emptied before they are remembered | cases:
      released_2.1
    answer: low_res_multimasks = torch.where(appears, low_res_multimasks, NO_OBJECT_LOGIT) =>
  pointer_of_first_token | pointer tokens | the pointer belongs to the mask that was chosen | cases:
      released_2.1
    answer: token = tokens[rows, best] =>
  mask_prompt_half_as_sure | constants | numbers out of nowhere | cases: mask_of_one
    mask_as_logits: mask * 20.0 - 10.0 => mask * 10.0 - 5.0
  mask_prompt_without_smoothing | smoothing | interpolate's default; edges of a mask prompt show it | cases:
      mask_of_one
    mask_as_logits: antialias=True =>

SAM2Model in samblocks/models/sam2/memory_bank.py
  losers_fall_to_ten | sides of a threshold | a clamp from above leaves what lies below; a constant does not |
      cases: losing_logits
    without_overlaps: masks.clamp(max=-10.0) => masks.new_full((), -10.0)
  last_of_equal_objects_wins | sides of a threshold | of equal logits the first one wins | cases:
      losing_logits
    without_overlaps: masks.argmax(dim=0, keepdim=True)
      => masks.shape[0] - 1 - masks.flip(0).argmax(dim=0, keepdim=True)
  zero_is_foreground | sides of a threshold | a logit of zero is background | cases: logits_on_the_threshold
    mask_to_remember: masks > 0 => masks >= 0
  zero_is_remembered_as_seen | sides of a threshold | a score of zero is no object | cases:
      scores_on_the_threshold
    mark_absent: object_score_logits > 0 => object_score_logits >= 0
  prompted_answer_before_tracked | two answers | of a frame that has both, the tracked one is a neighbour |
      cases: small_two_answers
    memory_sources: ChainMap(output_dict["non_cond_frame_outputs"], unselected)
      => ChainMap(unselected, output_dict["non_cond_frame_outputs"])
  selected_frames_are_no_neighbours | two answers | a selected frame may be a neighbour too, by its other
      answer | cases: small_two_answers
    memory_sources: neighbour.frame in others
      => neighbour.frame in others and neighbour.frame not in selected
  past_only_in_training_too | prompts ahead | the setting is for evaluation | cases: prompt_ahead_in_training
    memory_sources: config.only_obj_ptrs_in_the_past_for_eval and not training
      => config.only_obj_ptrs_in_the_past_for_eval

SAM2Model in samblocks/models/sam2/frames.py
  frame_itself_left_out | prompts ahead | a frame that is corrected again has a pointer of its own | cases:
      small_tracking
    pointer_frames: elapsed < 0 => elapsed <= 0

SAM2Model in samblocks/models/sam2/heads.py
  zero_is_seen_in_masks | seen at zero | a score of zero is no object | cases: scores_on_the_threshold
    answer: object_score_logits > 0 => object_score_logits >= 0

SAM2Model in samblocks/models/sam2/model.py
  zero_is_seen_in_pointers | seen at zero | the same for the pointer | cases: scores_on_the_threshold
    SAM2Model._forward_sam_heads: scores > 0 => scores >= 0
  faint_pixels_do_not_count | seen at zero | any pixel above zero shows an object, not one above a half |
      cases: faint_mask
    SAM2Model._use_mask_as_output: mask > 0 => mask > 0.5
""")
