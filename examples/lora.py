"""Train LoRA inside an image encoder, merge it, and write files that other libraries' loaders take.

  pip install peft
  python examples/lora.py                                            # fresh weights, half a minute
  python examples/lora.py --model sam2.1_hiera_tiny --side 1024 -o merged

`-o` gets `merged.pt` in Meta's layout and `merged/` as transformers' `from_pretrained` wants it: the weights of a SAM 2
with what LoRA learned inside, and no trace of peft.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

import samblocks

VARIANT = "sam2.1_hiera_tiny"


def encoded(encoder: torch.nn.Module, pictures: Tensor) -> Tensor:
    """The coarsest map of an image encoder: [N, C, h, w]."""
    features: Tensor = encoder(pictures)["vision_features"]
    return features


def main() -> tuple[float, float]:
    """Train; the loss of the first and the last step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help=f"a {VARIANT}, by file or name; by default with fresh weights")
    parser.add_argument("--side", type=int, default=128, help="of the pictures (default: 128)")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("-o", "--output", type=Path, help="where the merged model goes, without an ending")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        file = arguments.model or f"{folder}/fresh.pt"
        if arguments.model is None:
            samblocks.save(samblocks.build(VARIANT), file)
        model = samblocks.load(file, image_size=arguments.side, mmap=False)
        output = arguments.output or Path(folder, "merged")

        # What is to be learned: the features of pictures that are turned to grey, of the pictures in colour.
        colour = torch.randn(2, 3, arguments.side, arguments.side)
        grey = colour.mean(1, keepdim=True).expand_as(colour)
        with torch.no_grad():
            wanted = encoded(model.image_encoder, grey)
        config = LoraConfig(r=4, lora_alpha=8, target_modules=r".*\.attn\.(qkv|proj)", lora_dropout=0.0)
        adapted = get_peft_model(model.image_encoder, config)
        adapted.print_trainable_parameters()
        learned = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(learned, lr=1e-2)
        losses = []
        for _ in range(arguments.steps):
            loss = (encoded(adapted, colour) - wanted).square().mean() / wanted.square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"loss {losses[0]:.4f} at first, {losses[-1]:.4f} at last")

        with torch.no_grad():
            before = encoded(adapted, colour)
            model.image_encoder = adapted.merge_and_unload()
            merged = encoded(model.image_encoder, colour)
            samblocks.save(model, output.with_suffix(".pt"))
            output.mkdir(exist_ok=True)
            samblocks.save(model, output / "model.safetensors", layout="transformers")
            again = samblocks.load(output.with_suffix(".pt"), image_size=arguments.side, mmap=False)
            loaded = encoded(again.image_encoder, colour)
        changed = ((merged - before).norm() / before.norm()).item()
        print(
            f"merging changed features by {changed:.1e} of their size; saved and loaded: {torch.equal(merged, loaded)}"
        )
        assert changed < 1e-4
        assert torch.equal(merged, loaded)
    return losses[0], losses[-1]


if __name__ == "__main__":
    main()
