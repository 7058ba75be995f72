"""Swap, then accelerate: hosts run our modules in an engine, and everything is given back.

One engine computes as eager does, since the references' environment has no runtime: what is looked at is which calls
reach it, and that results, modules and weights are the host's own again. Where that environment has runtimes, too
(`pip install openvino onnxruntime onnx` into a copy of it), a driver of each library goes through each of them.
"""

import tempfile
from importlib import import_module
from importlib.util import find_spec
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


REAL = [name for name in ("onnxruntime", "openvino") if find_spec(name) is not None]
ONE_OF_EACH = (
    "SAM2VideoPredictor, 2.1 tiny",
    "SAM2VideoPredictor 2.1 tiny",
    "SamPredictor vit_b",
    "Sam2VideoModel 2.1",
)


def proved(driver, backend):
    """A driver as it is, swapped, in an engine, and as it is again."""
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        session = driver.make(256, Path(folder))
        before = session.run()
        swap = swap_blocks(session.model)
        modules = [id(found) for found in swap.model.modules()]
        state = list(swap.model.state_dict())
        swapped = session.run()
        report = accelerate(swap.model, backend, cache=False)
        assert [id(found) for found in swap.model.modules()] == modules
        assert list(swap.model.state_dict()) == state
        answered = session.run()
        calls = report.calls
        print(driver.library, driver.name, backend, {path: dict(found) for path, found in calls.items()})
        apart = (answered.masks > 0) != (swapped.masks > 0)
        assert float(apart.double().mean()) < 1e-3, float(apart.double().mean())
        assert any(found.get("engine") for found in calls.values()), calls
        assert all(set(found) <= {"engine"} for found in calls.values()), calls
        report.undo()
        swap.undo()
        after = session.run()
        assert torch.equal(after.masks, before.masks)


torch.set_num_threads(1)
compile_graph = accelerating.compile_graph
ran = dict.fromkeys(["compile", *REAL], 0)
for module, names in WANTED.items():
    for driver in import_module(f"parity.references.hosts.{module}").DRIVERS:
        name = driver.name.replace(",", "")
        if not any(wanted.replace(",", "") in name for wanted in names):
            continue
        accelerating.compile_graph = eager_engine
        proved(driver, "compile")
        accelerating.compile_graph = compile_graph
        ran["compile"] += 1
        for backend in REAL if any(one.replace(",", "") in name for one in ONE_OF_EACH) else ():
            proved(driver, backend)
            ran[backend] += 1
assert ran == {"compile": 9} | dict.fromkeys(REAL, 4), ran
