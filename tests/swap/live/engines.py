"""Swap, then accelerate: hosts run our modules in an engine, and everything is given back.

The engine here computes as eager does, since the references' environment has no runtime: what is looked at is which
calls reach it, and that results, modules and weights are the host's own again.
"""

import tempfile
from importlib import import_module
from pathlib import Path

import torch

from samblocks import accelerate, swap_blocks
from samblocks.engines import accelerate as accelerating

WANTED = {
    "drivers_ultralytics": (
        "Predictor, mobile_sam",
        "SAM2Predictor, 2.1 tiny",
        "SAM2VideoPredictor, 2.1 tiny",
    ),
    "drivers_meta": ("SAM2ImagePredictor 2.1 tiny", "SAM2VideoPredictor 2.1 tiny", "SamPredictor vit_b"),
    "drivers_transformers": ("SamModel vit_b", "Sam2Model tiny", "Sam2VideoModel 2.1 tiny"),
}


def eager_engine(part, graph, example, samples, settings):
    def run(tensors):
        with torch.no_grad():
            return [x.clone() for x in graph.module(*tensors)]

    run(example)
    return run, False


accelerating.compile_graph = eager_engine
torch.set_num_threads(1)
ran = 0
for module, names in WANTED.items():
    for driver in import_module(f"parity.references.hosts.{module}").DRIVERS:
        if not any(name.replace(",", "") in driver.name.replace(",", "") for name in names):
            continue
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            session = driver.make(256, Path(folder))
            before = session.run()
            swap = swap_blocks(session.model)
            modules = [id(found) for found in swap.model.modules()]
            state = list(swap.model.state_dict())
            swapped = session.run()
            report = accelerate(swap.model, "compile", cache=False)
            assert [id(found) for found in swap.model.modules()] == modules
            assert list(swap.model.state_dict()) == state
            answered = session.run()
            calls = report.calls
            print(driver.library, driver.name, {path: dict(found) for path, found in calls.items()})
            apart = (answered.masks > 0) != (swapped.masks > 0)
            assert float(apart.double().mean()) < 1e-3, float(apart.double().mean())
            assert any(found.get("engine") for found in calls.values()), calls
            report.undo()
            swap.undo()
            after = session.run()
            assert torch.equal(after.masks, before.masks)
            ran += 1
assert ran == 9, ran
