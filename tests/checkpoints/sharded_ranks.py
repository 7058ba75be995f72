"""One of two processes that hold a model together; what it finds goes to standard output as JSON."""

import json
import sys
import threading

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

import samblocks
from parity.bench.memory import private_memory
from samblocks.checkpoints.sharded import parts_of, spread

SIDE = 128


def features(model, picture):
    found = model.image_encoder(picture)
    return found["vision_features"] if isinstance(found, dict) else found


class Peak:
    """By how much private memory rose at most within a `with` block."""

    def __enter__(self):
        self.before, self.ended = private_memory(), threading.Event()
        self.highest = self.before
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while not self.ended.wait(0.001):
            self.highest = max(self.highest, private_memory())

    def __exit__(self, *_) -> None:
        self.ended.set()
        self.thread.join()
        self.rise = max(self.highest, private_memory()) - self.before


def import_what_sharding_needs(mesh) -> None:
    small = nn.Module()
    small.layers = nn.ModuleList([nn.Linear(2, 2, device="meta")])
    spread(small, mesh)
    dict(parts_of([("layers.0.bias", torch.ones(2))], small))


def main(rank: int, folder: str, other_layout: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    import_what_sharding_needs(mesh)
    with Peak() as peak:
        model = samblocks.load(f"{folder}/model.safetensors", image_size=SIDE, sharded=mesh)
    own = {name: value for name, value in model.named_parameters() if isinstance(value, DTensor)}
    told: dict[str, float] = {
        # torch 2.6 spreads on a processor, but cannot run there.
        "runs": hasattr(torch.cpu.Stream, "record_event"),
        "rise": peak.rise,
        "spread": sum(value.numel() for value in own.values()),
        "all": sum(value.numel() for value in model.parameters()),
        "here": sum(value.to_local().numel() for value in own.values()),
        "held": sum(value.to_local().untyped_storage().nbytes() for value in own.values()),
    }
    picture = torch.load(f"{folder}/picture.pt")
    if told["runs"]:
        with torch.no_grad():
            found = features(model, picture)
        told["equal"] = bool(torch.allclose(found, torch.load(f"{folder}/features.pt"), atol=1e-4))

        # A step of training changes all ranks alike.
        features(model, picture).square().mean().backward()
        told["gradients"] = sum(value.grad is not None for value in own.values()) / len(own)
        model.zero_grad()

    for name, layout in (("again.pt", "meta"), ("again.safetensors", other_layout)):
        samblocks.save(model, f"{folder}/{name}", layout=layout)
    state_dict_saver.save(model.state_dict(), checkpoint_id=f"{folder}/dcp")
    other = samblocks.load(f"{folder}/model.safetensors", image_size=SIDE, sharded=mesh)
    with torch.no_grad():
        for value in other.parameters():
            value.zero_()
    state = other.state_dict()
    state_dict_loader.load(state, checkpoint_id=f"{folder}/dcp")
    told["dcp"] = all(
        torch.equal(value.to_local(), state[name].to_local())
        for name, value in model.state_dict().items()
        if isinstance(value, DTensor)
    )
    print(json.dumps(told))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
