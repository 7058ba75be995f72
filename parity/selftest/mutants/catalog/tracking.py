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
    read_memory: config.num_maskmem - 1 => min(abs(frame_idx - frame), config.num_maskmem - 1)
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
""")
