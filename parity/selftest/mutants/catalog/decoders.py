"""Bugs in the mask decoders, the memory's modules, and SAM 1 as a whole."""

from parity.selftest.mutants.table import table

MUTANTS = table("""
MaskDecoder in samblocks/models/sam1/mask_decoder.py
  masks_from_iou_token | mask tokens | off by one: the IoU token stands before the masks'
    MaskDecoder._decode: tokens[:, 1 : 1 + self.num_mask_tokens] => tokens[:, : self.num_mask_tokens]
  iou_from_mask_token | mask tokens | off by one in the other direction
    MaskDecoder._decode: tokens[:, 0] => tokens[:, 1]
  first_three_masks | mask tokens | the single mask comes first, the three after it
    MaskDecoder.forward: slice(1, None) => slice(0, -1)
  tokens_reordered | mask tokens | the order in which tokens are put together
    MaskDecoder._tokens: [self.iou_token.weight, self.mask_tokens.weight]
      => [self.mask_tokens.weight, self.iou_token.weight]

MaskDecoder in samblocks/models/decoder_parts.py
  tanh_gelu | tanh GELU | one of two activations, hidden in a Sequential
    make_upscaling: activation() (1 of 2) => nn.GELU(approximate="tanh")

SAM2MaskDecoder in samblocks/models/decoder_parts.py
  finer_map_after_norm | fusion | which of two steps comes first | plain
    _enlarge: norm(enlarge_1(src) + finer) => norm(enlarge_1(src)) + finer

MaskDecoderHQ in samblocks/models/sam1/hq_mask_decoder.py
  best_is_one_too_early | best mask | masks and IoUs are counted from different places
    MaskDecoderHQ.forward: 1 + best => best
  single_mask_takes_part | best mask | the mask for one answer is no candidate among several
    MaskDecoderHQ.forward: iou[:, 1:].max(dim=1, keepdim=True) => iou.max(dim=1, keepdim=True)
    MaskDecoderHQ.forward: 1 + best => best
  own_token_before_masks | HQ token | it is learned after the others, and stands behind them
    MaskDecoderHQ._tokens: [self.iou_token.weight, self.mask_tokens.weight, self.hf_token.weight]
      => [self.iou_token.weight, self.hf_token.weight, self.mask_tokens.weight]
  early_features_left_out | finer map | the sum still has the right shape
    MaskDecoderHQ.forward: self.embedding_encoder(image_embeddings) + self.compress_vit_feat(early)
      => self.embedding_encoder(image_embeddings)
  features_before_convolutions | finer map | which of two steps comes first
    MaskDecoderHQ._decode_all: self.embedding_maskfeature(upscaled) + fine
      => self.embedding_maskfeature(upscaled + fine)
  alone_is_summed | HQ token | the flag is there to leave SAM's mask out
    MaskDecoderHQ.forward: sharper if hq_token_only else masks + sharper => masks + sharper

SAMModelHQ in samblocks/models/sam1/hq_model.py
  features_of_first_image | images of a batch | with one image nothing is seen
    SAMModelHQ.forward: features[own] => features[:1]
  early_features_of_first_image | images of a batch | the same for the other maps
    SAMModelHQ.forward: [one[own] for one in maps] => [one[:1] for one in maps]
  last_global_block | finer map | the map after the first global block, of several
    SAMModelHQ.forward: [one[own] for one in maps] => [one[own] for one in maps[::-1]]
  never_alone | HQ token | an argument that is accepted and not passed on
    SAMModelHQ.forward: {'hq_token_only': hq_token_only, 'interm_embeddings': [one[own] for one in maps]}
      => {'hq_token_only': False, 'interm_embeddings': [one[own] for one in maps]}

SAM2MaskDecoder in samblocks/models/sam2/mask_decoder.py
  band_above_zero_alone | stability | the union of the band is everything above its lower end | cases:
      released, other_stability
    SAM2MaskDecoder._get_stability_scores: -delta => 0
  upper_limit_is_inside | limits of stability | a logit on the limit of the band is not above it | cases:
      stability_on_the_threshold
    SAM2MaskDecoder._get_stability_scores: logits > delta => logits >= delta
  lower_limit_is_inside | limits of stability | the same for the lower one | cases: stability_on_the_threshold
    SAM2MaskDecoder._get_stability_scores: logits > -delta => logits >= -delta
  least_share_is_too_little | limits of stability | the least share is enough | cases:
      stability_on_the_threshold
    SAM2MaskDecoder._dynamic_multimask_via_stability: self._get_stability_scores(all_mask_logits[:, :1]) >=
      self.dynamic_multimask_stability_thresh
      => self._get_stability_scores(all_mask_logits[:, :1]) > self.dynamic_multimask_stability_thresh
  best_of_all_masks | stability | the single mask does not take part in the choice of its replacement
    SAM2MaskDecoder._dynamic_multimask_via_stability: 1 + all_iou_scores[:, 1:].argmax(dim=-1, keepdim=True)
      => all_iou_scores.argmax(dim=-1, keepdim=True)
  stable_is_replaced | stability | which of the two the condition keeps
    SAM2MaskDecoder._dynamic_multimask_via_stability: torch.where(stable, 0, best)
      => torch.where(stable, best, 0)
  lower_threshold | stability | SAM's automatic mask generator uses 0.95
    SAM2MaskDecoder.__init__: dynamic_multimask_stability_thresh=0.98
      => dynamic_multimask_stability_thresh=0.95
  chosen_in_training | training and evaluation | the choice is for evaluation alone
    SAM2MaskDecoder._choose: self.dynamic_multimask_via_stability and not self.training
      => self.dynamic_multimask_via_stability
  score_token_not_counted | mask tokens | SAM 2 puts one more token before SAM 1's
    SAM2MaskDecoder._decode: 1 if self.pred_obj_scores else 0 => 0
  iou_without_sigmoid | sigmoid | SAM 1's has none
    SAM2MaskDecoder.__init__: sigmoid=iou_prediction_use_sigmoid => sigmoid=False
  tokens_of_first_masks | pointer tokens | off by one: masks and tokens no longer belong to each other
    SAM2MaskDecoder._choose: tokens[:, 1:] => tokens[:, :-1]

MemoryAttention in samblocks/models/sam2/memory.py
  whole_code_at_input | constants | a tenth, a number out of nowhere
    MemoryAttention._placed: 0.1 * curr_pos => curr_pos
  last_norm_missing | last norm missing | the norm after the last layer
    MemoryAttention._attend: layer_norm(self.norm, x) => x
  one_layer_for_all | shared layers | the same module several times: names and shapes of the state dict are
      right
    MemoryAttention.__init__: copy.deepcopy(layer) => layer
  code_always_at_input | positions of tokens | all released models have this flag set
    MemoryAttention._placed: self.pos_enc_at_input and curr_pos is not None => curr_pos is not None

MemoryEncoder in samblocks/models/sam2/memory.py
  sigmoid_twice | sigmoid | the tracker has taken the sigmoid already
    MemoryEncoder._encode: masks if finished else torch.sigmoid(masks) => torch.sigmoid(masks)
  features_not_projected | missing term | made, loaded, and never called
    MemoryEncoder._encode: self.pix_feat_proj(pix_feat) => pix_feat
  mask_after_fuser | order of layers | image and mask are blended by the fuser, so the sum comes before it
    MemoryEncoder._encode: self.pix_feat_proj(pix_feat) + mask => self.pix_feat_proj(pix_feat)
    MemoryEncoder._encode: self.fuser(x) => self.fuser(x) + mask
  three_fusing_layers | number of layers | a number that is written in a configuration elsewhere
    MemoryEncoder.__init__: num_layers=2 => num_layers=3

SAMModel in samblocks/models/sam1/model.py
  deviation_divides_mean_alone | normalization of images | parentheses left out: seen in a published port,
      whose tests looked at shapes
    SAMModel.preprocess: (x.to(wide) - self.pixel_mean) / self.pixel_std
      => x.to(wide) - self.pixel_mean / self.pixel_std
  padded_before_normalization | normalization of images | the padding is zero after normalization, not before
    SAMModel.preprocess: (x.to(wide) - self.pixel_mean) / self.pixel_std
      => F.pad(x.to(wide), (0, width - x.shape[-1], 0, height - x.shape[-2]))
    SAMModel.preprocess: F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2]))
      => (x - self.pixel_mean) / self.pixel_std
  padded_top_left | image padding | F.pad counts from the last axis, each with its front before its back
    SAMModel.preprocess: (0, width - x.shape[-1], 0, height - x.shape[-2])
      => (width - x.shape[-1], 0, height - x.shape[-2], 0)
  padding_not_cropped | image padding | square images have no padding
    SAMModel.postprocess_masks: masks = masks[..., : input_size[0], : input_size[1]] =>
  masks_aligned_corners | align_corners | the default of older releases and of other frameworks
    SAMModel.postprocess_masks: F.interpolate(masks, (height, width), mode="bilinear", align_corners=False)
      => F.interpolate(masks, (height, width), mode="bilinear", align_corners=True)
""")
