"""Bugs in the predictor of videos: frames, prompts, the state, what is kept of it."""

from parity.selftest.mutants.table import table

MUTANTS = table("""
SAM2Model in samblocks/predict/video/clips.py
  frames_resized_as_pictures | resizing | a video's frames have another filter than SAM's pictures | cases:
      film_one_frame
    Clip._squared: "bicubic" => "bilinear"
  frames_not_scaled | constants | mean and deviation belong together | cases: film_one_frame
    Clip.image: (image - _column(_MEAN, dtype)) / _column(_STD, dtype) => image - _column(_MEAN, dtype)

SAM2Model in samblocks/predict/video/prompts.py
  sides_swapped | coordinates | x belongs to the width | cases: film_one_frame
    add_points: [state.clip.width, state.clip.height] => [state.clip.height, state.clip.width]
  earlier_logits_as_they_are | constants | an absent object's logits are -1024, and are given as -32 | cases:
      film_clicks
    _prompt: earlier["pred_masks"].to(state.settings.device, state.settings.dtype).clamp(-32.0, 32.0)
      => earlier["pred_masks"].to(state.settings.device, state.settings.dtype)
  second_click_starts_anew | refinement | what a frame has is given again with every click | cases: film_clicks
    _prompt: track.known(frame, role) if points is not None else None => None
  earlier_points_forgotten | refinement | clicks may be added to those before | cases: film_clicks
    add_points: not clear_old_points and frame in track.points => False
  masks_not_smoothed | smoothing | interpolate's default; edges of a mask show it | cases: film_masks
    add_mask: antialias=True => antialias=False
  masks_grow | sides of a threshold | half covered is covered, less is not | cases: film_masks
    add_mask: values >= 0.5 => values > 0.0
  cleared_frame_stays_tracked | clearing | a frame that is cleared is as if it had never been passed | cases:
      film_objects
    clear_frame: track.tracked.discard(frame) =>
  cleared_answer_is_lost | clearing | a prompt's answer outlives the prompt, as a tracked result | cases:
      film_objects
    clear_frame: track.outputs[OTHER][frame] = output =>
  prompted_frame_corrected_aside | corrections | on a prompted frame a correction takes the answer's place |
      cases: film_corrections_of_prompted
    _role: settings.corrections == "stick" and prompted_before => False
  all_corrections_become_prompts | corrections | a corrected frame is read like a tracked one | cases:
      film_corrections
    _role: settings.add_all_frames_to_correct_as_cond or stays => True

SAM2Model in samblocks/predict/video/steps.py
  holes_of_films_stay | post-processing | holes are filled in what is given and in what prompts are remembered by |
      cases: film_forward
    _kept: fill_holes(made["pred_masks"].to(settings.wide), settings.fill_hole_area)
      => made["pred_masks"].to(settings.wide)
  memory_of_the_nearest_pixel | smoothing | prompted masks are enlarged smoothly before they are remembered |
      cases: film_forward
    enlarged: F.interpolate(masks, size=size, mode="bilinear", align_corners=False)
      => F.interpolate(masks, size=size, mode="nearest")
  prompts_remembered_softly | sigmoid scale | masks that answer to prompts are zeros and ones | cases:
      film_forward
    remember: is_mask_from_pts=prompt => is_mask_from_pts=False
  objects_mixed_up | batches | each object has its own part of what the model gives | cases: film_forward
    _kept: slice(number, number + 1) => slice(0, 1)
  grouped_by_number | batches | as many frames are not the same frames | cases: film_five
    track_frame: ([at for at, _ in found.maps], [at for at, _ in found.pointers])
      => (len(found.maps), len(found.pointers))
  corrected_backwards | reverse tracking | a correction reads what was read when the frame was tracked | cases:
      film_window
    prompted: bool(track.tracked.direction(frame)) and not initial => not initial

SAM2Model in samblocks/predict/video/freshness.py
  everything_is_fresh | what is tracked again | what was read may have changed since | cases: film_both_ways
    is_fresh: output["reads"] == reads(sources(state, track, frame, reverse=reverse)) => True
  serials_not_looked_at | what is tracked again | the same frames may hold other results | cases:
      film_corrections_of_prompted
    reads: output["serial"] (1 of 2) => 0

SAM2Model in samblocks/predict/video/propagation.py
  prompted_frame_has_two_answers | corrections | a frame with a prompt has no other result | cases:
      film_lost_corrections
    settle: track.outputs[OTHER].pop(frame, None) =>
  corrections_tracked_over | corrections | what upstream 1.1 does, and nobody wants | cases: film_corrections
    _frame: frame not in track.corrected and not is_fresh(state, track, frame, reverse=reverse)
      => not is_fresh(state, track, frame, reverse=reverse)
  corrections_kept_always | corrections | as upstream means as upstream | cases: film_lost_corrections
    settle: role == OTHER and state.settings.corrections == "stick" => role == OTHER
  one_frame_less | range of frames | the number counts the frames behind the first one | cases: film_range
    propagate: done <= most => done < most
  backwards_from_the_first | range of frames | there is nothing before the first frame, not even itself | cases:
      film_range
    propagate: reverse and frame == 0 (2 of 2) => False
  direction_forgotten | reverse tracking | frames remember in which direction they were tracked | cases:
      film_short_back
    _frame: track.tracked.add(frame, reverse=reverse) => track.tracked.add(frame, reverse=False)
  memory_cleared_nearby_only | clearing | as many frames as there are memories, on both sides | cases:
      film_cleared
    _clear_around: int(model.memory_temporal_stride_for_eval) * int(model.num_maskmem) => 2

SAM2Model in samblocks/predict/video/state.py
  starts_at_the_last_prompt | range of frames | tracking starts at the first prompt of any object | cases:
      film_apart
    State.first_prompt: min(frame for track in self.tracks.values() for frame in track.outputs[COND])
      => max(frame for track in self.tracks.values() for frame in track.outputs[COND])
  not_read_ahead | unknown length | fewer frames than pointers change the code of time | cases: film_stream
    State.frames_for: self.clip.has(enough - 1) =>
  tracked_before_prompted | two answers | a pending answer comes first | cases: film_clicks
    Track.known: self.pending[role].get(frame) or self.outputs[COND].get(frame) or
      self.outputs[OTHER].get(frame) => self.outputs[COND].get(frame) or self.outputs[OTHER].get(frame)

SAM2Model in samblocks/predict/video/views.py
  unknown_is_undecided | unknown objects | where nothing is known there is no object | cases: film_apart
    answer: NO_OBJECT_LOGIT => 0.0
  overlaps_given | post-processing | a policy that is accepted and not looked at | cases: film_no_overlap
    _apart: state.settings.non_overlap_masks => False

SAM2Model in samblocks/predict/video/settings.py
  window_of_five | reach of memories | off by one: one memory belongs to the frames with prompts | cases:
      film_long_stream
    Settings.reach: int(model.num_maskmem) - 1 => int(model.num_maskmem) - 2
  window_of_fourteen | reach of pointers | off by one in the number of pointers | cases: film_short_stream
    Settings.reach: int(model.max_obj_ptrs_in_encoder) - 1 => int(model.max_obj_ptrs_in_encoder) - 2
  memories_soft_from_the_start | settings of the builder | the builder of video predictors switches it on | cases:
      film_forward
    Settings.__init__: self.model.binarize_mask_from_pts_for_mem_enc = True =>

SAM2Model in samblocks/predict/video/history.py
  nothing_comes_back | what is tracked again | a correction far back needs what the window passed | cases:
      film_window
    _bring_back: _track_again(state, track, min(missing), max(missing), frame, reverse=way) =>

SAM2Model in samblocks/predict/video/saving.py
  corrections_not_saved | saving | what sticks has to stick in another process | cases: film_saved
    _track: sorted(track.corrected) => []
  serials_start_anew | saving | serial numbers go on, or old results look like new ones | cases: film_short_saved
    resume: count(about["serial"]) => count(1)
  pending_answers_not_saved | saving | what was said just now is part of the state | cases: film_saved
    _track: ("outputs", "pending") => ("outputs",)
""")
