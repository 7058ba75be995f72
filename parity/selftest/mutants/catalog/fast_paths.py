"""Bugs that only fast paths can have: in what is cut, and in values that are projected last."""

from functools import partial

from parity.selftest.mutants.mutant import Mutant

_ROPE = partial(Mutant, block="RoPEAttention", file="samblocks/blocks/rope.py", family="narrow values")
_NARROW = partial(
    Mutant, block="RoPEAttention", file="samblocks/ops/attend_narrow.py", family="narrow values"
)
_CUT = partial(Mutant, family="cut in chunks", chunks=True)
_BY_PLACE = partial(Mutant, block="REAttention", file="samblocks/ops/attend_with_rel_pos.py", chunks=True)

MUTANTS = (
    _ROPE(
        name="bias_of_narrow_values_missing",
        old="linear(self.v_proj, attend_narrow(q, k, v))",
        new="attend_narrow(q, k, v) @ self.v_proj.weight.mT",
        why="the weights sum to one, so that the bias of the values comes through whole",
    ),
    _ROPE(
        name="pointers_turned_in_place",
        old="rotate_pairs_(k[:, :rotated], *cos_sin)",
        new="rotate_pairs_(k[:, -rotated:], *cos_sin)",
        why="pointers come last, and have no place",
    ),
    _NARROW(
        name="scale_of_narrow_values",
        old="q = q * q.shape[2] ** -0.5",
        new="q = q * v.shape[2] ** -0.5",
        why="keys and values have different widths here",
    ),
    _NARROW(
        name="values_of_the_first_item",
        old="torch.mm(scores, v[item],",
        new="torch.mm(scores, v[0],",
        why="tracking mostly has one object",
    ),
    _CUT(
        block="MultiScaleBlock",
        name="cut_through_windows",
        file="samblocks/blocks/hiera.py",
        old="rows_at_once(x, 4 * self.dim_out, self.window_size)",
        new="rows_at_once(x, 4 * self.dim_out, self.window_size // 2)",
        why="what looks at each other must stay together",
    ),
    _CUT(
        block="MultiScaleBlock",
        name="rows_of_a_piece_reversed",
        family="rows of another piece",
        file="samblocks/ops/chunking.py",
        old="done\n    return out",
        new="done.flip(1)\n    return out",
        why="rows of a piece in another order",
    ),
    _CUT(
        block="Block",
        name="cut_through_windows",
        file="samblocks/blocks/vit.py",
        old="rows_at_once(x, 4 * x.shape[-1], max(self.window_size, 1))",
        new="rows_at_once(x, 4 * x.shape[-1])",
        why="windows must stay together",
    ),
    _CUT(
        block="SAM2MaskDecoder",
        name="first_image_for_all_prompts",
        file="samblocks/models/sam2/mask_decoder.py",
        old='for_prompts("image_embeddings", image_embeddings, prompts)',
        new='for_prompts("image_embeddings", image_embeddings[:1], prompts)',
        why="there may be an image for each prompt",
    ),
    _CUT(
        block="MaskDecoder",
        name="first_mask_prompt_for_all",
        file="samblocks/models/decoder_parts.py",
        old="zip(*(torch.split(x, step) for x in inputs), strict=True)",
        new="((x[:step], *(y[:step] for y in inputs[1:])) for x in torch.split(inputs[0], step))",
        why="each piece has maps of its own",
    ),
    _BY_PLACE(
        name="bias_of_the_first_head",
        family="swapped axes of relative positions",
        old="torch.add(rows[item, head, places], columns[item, head, places], out=bias)",
        new="torch.add(rows[item, head, places], columns[item, 0, places], out=bias)",
        why="one head at a time, with its own terms",
    ),
    _BY_PLACE(
        name="bias_of_the_first_rows",
        family="rows of another piece",
        old="torch.add(rows[item, head, places], columns[item, head, places], out=bias)",
        new="torch.add(rows[item, head, : step][: bias.shape[0]], columns[item, head, places], out=bias)",
        why="each piece has rows of its own",
    ),
)
