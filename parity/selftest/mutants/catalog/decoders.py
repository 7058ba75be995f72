"""Bugs in the mask decoders, the memory's modules, and SAM 1 as a whole."""

from functools import partial

from parity.selftest.mutants.mutant import Mutant

_SAM = partial(Mutant, block="MaskDecoder", file="samblocks/models/sam1/mask_decoder.py")
_SAM2 = partial(Mutant, block="SAM2MaskDecoder", file="samblocks/models/sam2/mask_decoder.py")
_PARTS = partial(Mutant, file="samblocks/models/decoder_parts.py")
_ATTENTION = partial(Mutant, block="MemoryAttention", file="samblocks/models/sam2/memory.py")
_MODEL = partial(Mutant, block="SAMModel", file="samblocks/models/sam1/model.py")
_ENCODER = partial(Mutant, block="MemoryEncoder", file="samblocks/models/sam2/memory.py")

MUTANTS = (
    _SAM(
        name="masks_from_iou_token",
        family="mask tokens",
        old="tokens[:, 1 : 1 + self.num_mask_tokens]",
        new="tokens[:, : self.num_mask_tokens]",
        why="off by one: the IoU token stands before the masks'",
    ),
    _SAM(
        name="iou_from_mask_token",
        family="mask tokens",
        old="self.iou_prediction_head(tokens[:, 0])",
        new="self.iou_prediction_head(tokens[:, 1])",
        why="off by one in the other direction",
    ),
    _SAM(
        name="first_three_masks",
        family="mask tokens",
        old="kept = slice(1, None) if multimask_output",
        new="kept = slice(0, -1) if multimask_output",
        why="the single mask comes first, the three after it",
    ),
    _SAM(
        name="tokens_reordered",
        family="mask tokens",
        old="torch.cat([self.iou_token.weight, self.mask_tokens.weight])",
        new="torch.cat([self.mask_tokens.weight, self.iou_token.weight])",
        why="the order in which tokens are put together",
    ),
    _PARTS(
        block="MaskDecoder",
        name="tanh_gelu",
        family="tanh GELU",
        old="        LayerNorm2d(dim // 4),\n        activation(),",
        new='        LayerNorm2d(dim // 4),\n        nn.GELU(approximate="tanh"),',
        why="one of two activations, hidden in a Sequential",
    ),
    _SAM2(
        name="band_above_zero_alone",
        family="stability",
        old="outer = (logits > -delta)",
        new="outer = (logits > 0)",
        why="the union of the band is everything above its lower end",
        cases=("released", "other_stability"),
    ),
    _SAM2(
        name="best_of_all_masks",
        family="stability",
        old="best = 1 + all_iou_scores[:, 1:].argmax(dim=-1, keepdim=True)",
        new="best = all_iou_scores.argmax(dim=-1, keepdim=True)",
        why="the single mask does not take part in the choice of its replacement",
    ),
    _SAM2(
        name="stable_is_replaced",
        family="stability",
        old="chosen = torch.where(stable, 0, best)",
        new="chosen = torch.where(stable, best, 0)",
        why="which of the two the condition keeps",
    ),
    _SAM2(
        name="lower_threshold",
        family="stability",
        old="dynamic_multimask_stability_thresh: float = 0.98",
        new="dynamic_multimask_stability_thresh: float = 0.95",
        why="SAM's automatic mask generator uses 0.95",
    ),
    _SAM2(
        name="chosen_in_training",
        family="training and evaluation",
        old="elif self.dynamic_multimask_via_stability and not self.training:",
        new="elif self.dynamic_multimask_via_stability:",
        why="the choice is for evaluation alone",
    ),
    _SAM2(
        name="score_token_not_counted",
        family="mask tokens",
        old="at = 1 if self.pred_obj_scores else 0",
        new="at = 0",
        why="SAM 2 puts one more token before SAM 1's",
    ),
    _SAM2(
        name="finer_map_after_norm",
        family="fusion",
        old="x = act_1(norm(enlarge_1(src) + finer))",
        new="x = act_1(norm(enlarge_1(src)) + finer)",
        why="which of two steps comes first",
    ),
    _SAM2(
        name="iou_without_sigmoid",
        family="sigmoid",
        old="sigmoid=iou_prediction_use_sigmoid,",
        new="sigmoid=False,",
        why="SAM 1's has none",
    ),
    _SAM2(
        name="tokens_of_first_masks",
        family="pointer tokens",
        old="mask_tokens[:, 1:] if several",
        new="mask_tokens[:, :-1] if several",
        why="off by one: masks and tokens no longer belong to each other",
    ),
    _ATTENTION(
        name="whole_code_at_input",
        family="constants",
        old="x = x + 0.1 * curr_pos",
        new="x = x + curr_pos",
        why="a tenth, a number out of nowhere",
    ),
    _ATTENTION(
        name="last_norm_missing",
        family="last norm missing",
        old="x = layer_norm(self.norm, x)\n",
        new="pass\n",
        why="the norm after the last layer",
    ),
    _ATTENTION(
        name="one_layer_for_all",
        family="shared layers",
        old="copy.deepcopy(layer) for _ in range(num_layers)",
        new="layer for _ in range(num_layers)",
        why="the same module several times: names and shapes of the state dict are right",
    ),
    _ATTENTION(
        name="code_always_at_input",
        family="positions of tokens",
        old="if self.pos_enc_at_input and curr_pos is not None:",
        new="if curr_pos is not None:",
        why="all released models have this flag set",
    ),
    _ENCODER(
        name="sigmoid_twice",
        family="sigmoid",
        old="mask = masks if skip_mask_sigmoid else torch.sigmoid(masks)",
        new="mask = torch.sigmoid(masks)",
        why="the tracker has taken the sigmoid already",
    ),
    _ENCODER(
        name="features_not_projected",
        family="missing term",
        old="x = self.pix_feat_proj(pix_feat) + mask",
        new="x = pix_feat + mask",
        why="made, loaded, and never called",
    ),
    _ENCODER(
        name="mask_after_fuser",
        family="order of layers",
        old="x = self.pix_feat_proj(pix_feat) + mask\n        x = self.out_proj(self.fuser(x))",
        new="x = self.pix_feat_proj(pix_feat)\n        x = self.out_proj(self.fuser(x) + mask)",
        why="image and mask are blended by the fuser, so the sum comes before it",
    ),
    _ENCODER(
        name="three_fusing_layers",
        family="number of layers",
        old="self.fuser = fuser or Fuser(CXBlock(dim=in_dim), num_layers=2)",
        new="self.fuser = fuser or Fuser(CXBlock(dim=in_dim), num_layers=3)",
        why="a number that is written in a configuration elsewhere",
    ),
    _MODEL(
        name="deviation_divides_mean_alone",
        family="normalization of images",
        old="(x.to(wide) - self.pixel_mean) / self.pixel_std",
        new="x.to(wide) - self.pixel_mean / self.pixel_std",
        why="parentheses left out: seen in a published port, whose tests looked at shapes",
    ),
    _MODEL(
        name="padded_before_normalization",
        family="normalization of images",
        old="""        x = (x.to(wide) - self.pixel_mean) / self.pixel_std
        return F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2])).to(self.pixel_mean.dtype)""",
        new="""        x = F.pad(x.to(wide), (0, width - x.shape[-1], 0, height - x.shape[-2]))
        return ((x - self.pixel_mean) / self.pixel_std).to(self.pixel_mean.dtype)""",
        why="the padding is zero after normalization, not before",
    ),
    _MODEL(
        name="padded_top_left",
        family="image padding",
        old="(0, width - x.shape[-1], 0, height - x.shape[-2])",
        new="(width - x.shape[-1], 0, height - x.shape[-2], 0)",
        why="F.pad counts from the last axis, each with its front before its back",
    ),
    _MODEL(
        name="padding_not_cropped",
        family="image padding",
        old="masks = masks[..., : input_size[0], : input_size[1]]",
        new="pass",
        why="square images have no padding",
    ),
    _MODEL(
        name="masks_aligned_corners",
        family="align_corners",
        old="""F.interpolate(masks, (height, width), mode="bilinear", align_corners=False)""",
        new="""F.interpolate(masks, (height, width), mode="bilinear", align_corners=True)""",
        why="the default of older releases and of other frameworks",
    ),
)
