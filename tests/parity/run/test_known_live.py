"""What an adapter evens out is there: without it the library differs."""

from dataclasses import replace

import pytest

from parity.cases import all_cases
from parity.run.job import jobs
from parity.run.runner import run
from parity.workers.client import Client, interpreter
from parity.workers.registry import REFERENCES


@pytest.mark.live
def test_what_tracking_evens_out_is_there() -> None:
    """transformers hands no earlier logits on to a correction, and makes masks binary before it remembers them."""
    python = interpreter()
    if python is None:
        pytest.skip("the references' environment is missing: make references")
    reference = replace(REFERENCES["transformers"], module="parity.references.transformers.as_is")
    with Client(reference, python) as client:
        rows = list(run(list(jobs([all_cases()["SAM2Model/released_2.1"]])), [client]))
    differing = {row.output for row in rows if row.comparison.verdict.failed}
    assert {"dense", "maskmem_features"} <= differing
    assert not differing & {"backbone_fpn/0", "sparse_2", "sparse_3", "maskmem_pos_enc"}
