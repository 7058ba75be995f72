import torch
from torch import Tensor

from parity.verdict import outlier


def _values(**changes: Tensor) -> dict[str, dict[str, Tensor]]:
    torch.manual_seed(0)
    truth = torch.randn(40, dtype=torch.float64)
    libraries = {name: truth * (1 + step * 1e-15) for step, name in enumerate(("ours", "meta", "timm"))}
    return {name: {"out": value} for name, value in (libraries | changes).items()}


def test_that_nobody_stands_apart_when_all_differ_by_rounding() -> None:
    assert outlier.find("Block/case", _values()) is None


def test_that_the_one_with_another_epsilon_stands_apart() -> None:
    values = _values()
    values["timm"]["out"] = values["timm"]["out"] * (1 + 1e-6)
    found = outlier.find("Block/case", values)
    assert found is not None
    assert (found.library, found.output, found.others) == ("timm", "out", ("ours", "meta"))
    assert 0.9e-6 < found.distance < 1.1e-6
    assert "Block/case: timm stands apart from ours, meta at 'out'" in str(found)


def test_that_two_camps_have_no_outlier() -> None:
    values = _values()
    values["ultralytics"] = {"out": values["timm"]["out"] * 1.5}
    values["timm"]["out"] = values["timm"]["out"] * 1.5
    assert outlier.find("Block/case", values) is None


def test_that_two_libraries_have_no_outlier() -> None:
    values = _values(meta=torch.zeros(40, dtype=torch.float64))
    del values["timm"]
    assert outlier.find("Block/case", values) is None


def test_that_another_shape_stands_apart() -> None:
    found = outlier.find("Block/case", _values(meta=torch.zeros(3, dtype=torch.float64)))
    assert found is not None
    assert found.library == "meta"
    assert "in shape" in str(found)


def test_that_infinite_values_are_compared_where_they_stand() -> None:
    values = _values()
    for own in values.values():
        own["out"][0] = -torch.inf
    assert outlier.find("Block/case", values) is None
    values["ours"]["out"][0] = torch.inf
    found = outlier.find("Block/case", values)
    assert found is not None
    assert found.library == "ours"


def test_that_lines_count_libraries_first() -> None:
    assert outlier.lines([]) == []
    found = outlier.Outlier("Block/case", "timm", "out", 1e-3, 1e-15, ("meta", "samblocks"))
    assert outlier.lines([found, found])[0].endswith("timm in 2")
