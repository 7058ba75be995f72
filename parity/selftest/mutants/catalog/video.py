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
  second_click_starts_anew | refinement | what a frame has is given again with every click | cases: film_clicks
    _prompt: track.known(frame, role) if points is not None else None => None
  masks_not_smoothed | smoothing | interpolate's default; edges of a mask show it | cases: film_masks
    add_mask: antialias=True => antialias=False
  masks_grow | sides of a threshold | half covered is covered, less is not | cases: film_masks
    add_mask: values >= 0.5 => values > 0.0
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

SAM2Model in samblocks/predict/video/state.py
  tracked_before_prompted | two answers | a pending answer comes first | cases: film_clicks
    Track.known: self.pending[role].get(frame) or self.outputs[COND].get(frame) or
      self.outputs[OTHER].get(frame) => self.outputs[COND].get(frame) or self.outputs[OTHER].get(frame)
""")
