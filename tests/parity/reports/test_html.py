"""The page about a run: what it says, that it needs nothing from outside, and that nothing in it can break out."""

import json
import re
import struct
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import Any

import pytest
import torch

from parity import extras, package
from parity.errors import UsageError
from parity.reports import charts, html, kill_matrix
from parity.run.judging import Row
from parity.verdict.compare import Comparison, Verdict
from parity.verdict.error_map import ErrorMap, grid, map_axes, png

ENVIRONMENT = {"torch": "9.9", "threads": 1, "references": {"meta": {"sam2": "1.1.0"}}}


def record(case: str, verdict: str, ratio: float | str | None = None, **more: Any) -> dict[str, Any]:
    found = {"id": case, "reference": "meta", "dtype": "float32", "output": "out", "verdict": verdict}
    return found | {"ratio": ratio, "max_abs": 1e-3, "index": [0, 1], "cause": ""} | more


class Reader(HTMLParser):
    """The tags of a page with their attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def details(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="details">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_page_names_what_did_not_hold_first() -> None:
    records = [
        record("B/exact", "EXACT"),
        record("A/bad", "DIVERGED", 31.4, cause="R is above 2", output="map"),
        record("A/bad", "WITHIN", 1.0, output="other"),
        record("A/known", "KNOWN", 4.25, cause="timm has another epsilon (imitated: our norms with it)"),
    ]
    page = html.page(records, ENVIRONMENT, title="a title")
    read = Reader(page)
    rows = [row for row in read.all("tr") if "data-line" in row]
    assert [(row["data-verdict"], row["data-block"]) for row in rows] == [
        ("DIVERGED", "A"),
        ("KNOWN", "A"),
        ("EXACT", "B"),
    ]
    assert "1 of 3 comparisons did not hold." in read.text
    assert "exit status of this run is 1" in read.text
    assert "sam2 1.1.0" in read.text
    assert "timm has another epsilon (imitated: our norms with it)" in read.text
    assert "R 4.25, max |Δ| 1.0e-03" in read.text
    assert read.text.count("A/bad") >= 1
    assert details(page)[0] == [
        ["map", "float32", "DIVERGED", "31.40", "1.0e-03", "[0, 1]", "R is above 2"],
        ["other", "float32", "WITHIN", "1.00", "1.0e-03", "[0, 1]", ""],
    ]


def test_all_held_and_nothing_ran_are_said_so() -> None:
    assert "All held." in html.page([record("B/c", "EXACT")], ENVIRONMENT)
    nothing = html.page([record("B/c", "NOT RUN", output="-", dtype="-")], ENVIRONMENT)
    assert "Nothing was compared." in nothing
    assert "Nothing was compared." in html.page([], ENVIRONMENT)
    missing = html.page([record("B/c", "EXACT"), record("B/d", "NOT RUN")], ENVIRONMENT, status=3)
    assert "A reference that was asked for is missing." in missing


def test_the_page_loads_nothing() -> None:
    error_map = grid(torch.zeros(1, 1, 8, 8), torch.eye(8)[None, None])
    assert error_map is not None
    page = html.page([record("B/c", "DIVERGED", 9.0, error_map=error_map.record())], ENVIRONMENT)
    read = Reader(page)
    (image,) = read.all("img")
    assert str(image["src"]).startswith("data:image/png;base64,")
    for _, attributes in read.tags:
        for name in ("src", "href", "srcset", "action"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert not read.all("link")
    assert not re.search(r"https?://|@import|url\(", page)


def test_what_upstream_raised_cannot_leave_its_place() -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    page = html.page([record("B/<b>c", "INCOMPARABLE", cause=evil, output=evil)], ENVIRONMENT, title=evil)
    read = Reader(page)
    assert len(read.all("script")) == 2
    assert not [image for image in read.all("img") if "onerror" in image]
    assert details(page)[0][0][-1] == evil


def test_results_of_a_pytest_session_have_no_reference_and_no_type() -> None:
    tests = [
        {
            "id": f"tests/test_a.py::test_b#{n}",
            "output": "out",
            "verdict": "WITHIN",
            "ratio": 1.1,
            "max_abs": 0.0,
        }
        for n in range(2)
    ]
    read = Reader(html.page(tests, {"torch": "9.9"}))
    rows = [row for row in read.all("tr") if "data-line" in row]
    assert {row["data-block"] for row in rows} == {"tests/test_a.py"}
    assert "All held." in read.text
    assert "Reference" not in read.text


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs jinja2 and matplotlib: pip install 'samblocks\[plots\]'"):
        html.page([], ENVIRONMENT)


def row(ratio: float | None, output: str = "out", verdict: Verdict = Verdict.WITHIN, **more: Any) -> Row:
    fields = {"id": "M/c", "reference": "meta", "dtype": "float32"} | more
    return Row(**fields, output=output, comparison=Comparison(verdict, ratio))


def test_ratios_are_counted_in_tenths_and_beyond_two_together() -> None:
    ratios = [0.05, 0.1, 0.95, 1.0, 1.01, 2.0, 2.01, 1e9, float("inf"), 0.0]
    worst = row(3.0, verdict=Verdict.DIVERGED)
    (chart,) = charts.histograms([*map(row, ratios), worst, row(None, verdict=Verdict.EXACT)])
    counts = {bin.label: bin.count for bin in chart.bins if bin.count}
    assert counts == {"0.0 to 0.1": 3, "0.9 to 1.0": 2, "1.0 to 1.1": 1, "1.9 to 2.0": 1, "above 2": 4}
    assert chart.equal == 1
    assert [bin.label for bin in chart.bins if bin.bad] == ["above 2"]
    (looser,) = charts.histograms([row(2.5)])  # within a bound of its own
    assert not any(bin.bad for bin in looser.bins)


def test_relative_differences_are_counted_in_powers_of_ten() -> None:
    rows = [row(value, dtype="float64") for value in (2e-16, 3e-16, 5e-15)]
    rows.append(row(1e-3, dtype="float64", verdict=Verdict.DIVERGED))
    (chart,) = charts.histograms(rows)
    assert {bin.label: (bin.count, bin.bad) for bin in chart.bins if bin.count} == {
        "1e-16 to 1e-15": (2, False),
        "1e-15 to 1e-14": (1, False),
        "1e-3 to 1e-2": (1, True),
    }


def test_stages_stand_in_order_with_one_and_two_marked() -> None:
    stages = [row(1.0, "a"), row(None, "b", Verdict.EXACT), row(2.0, "c")]
    (panel,) = charts.panels([*stages, row(1e-16, "a", dtype="float64")])
    assert [(stage.output, stage.text) for stage in panel.stages] == [
        ("a", "1.00"),
        ("b", "bit-equal"),
        ("c", "2.00"),
    ]
    assert panel.stages[0].width == pytest.approx(panel.one)
    assert panel.stages[2].width == pytest.approx(panel.bound)
    assert charts.panels(stages[:2]) == []  # two outputs are no course of stages


def test_many_outputs_are_folded_to_the_worst_of_each_frame() -> None:
    frames = [row(frame + part / 10, f"{frame}/{part}") for frame in range(9) for part in range(5)]
    (panel,) = charts.panels(frames)
    assert panel.folded
    assert [stage.output for stage in panel.stages] == [f"output {frame}" for frame in range(9)]
    assert panel.stages[3].text == "3.40"


def test_a_single_wrong_pixel_is_where_the_map_says() -> None:
    ours = torch.zeros(2, 3, 40, 200)
    theirs = ours.clone()
    theirs[1, 2, 39, 100] = -0.5
    error_map = grid(ours, theirs)
    assert error_map is not None
    assert (error_map.rows, error_map.columns, error_map.axes, error_map.peak) == (40, 64, (2, 3), 0.5)
    levels = torch.frombuffer(bytearray(error_map.levels), dtype=torch.uint8).reshape(40, 64)
    assert levels.nonzero().tolist() == [[39, 32]]
    assert ErrorMap.from_record(json.loads(json.dumps(error_map.record()))) == error_map


def test_maps_of_channels_last_of_numbers_that_are_none_and_of_nothing() -> None:
    assert map_axes((1, 14, 14, 96)) == (1, 2)
    assert map_axes((5, 7)) == (0, 1)
    broken = torch.zeros(4, 4)
    broken[1, 1] = torch.nan
    error_map = grid(broken, torch.ones(4, 4))
    assert error_map is not None
    assert error_map.peak == float("inf")
    assert error_map.levels.count(255) == 1
    assert ErrorMap.from_record(error_map.record()).peak == float("inf")
    assert grid(torch.ones(3, 3), torch.ones(3, 3)) is None
    assert grid(torch.ones(3), torch.zeros(3)) is None
    assert grid(torch.ones(2, 3), torch.ones(3, 2)) is None
    assert grid(torch.tensor([[True, False], [True, True]]), torch.ones(2, 2, dtype=torch.bool)) is not None


def test_a_map_is_a_picture_of_its_grid() -> None:
    error_map = ErrorMap((2, 3), (0, 1), 2, 3, 1.0, bytes([0, 0, 0, 0, 0, 255]))
    picture = png(error_map)
    assert picture.startswith(b"\x89PNG")
    assert struct.unpack(">II", picture[16:24]) == (3, 2)


@pytest.mark.parametrize("damage", [{"levels": "AAAA"}, {"rows": 0}, {"levels": "?"}, {"axes": [1]}])
def test_a_damaged_map_is_refused(damage: dict[str, Any]) -> None:
    error_map = ErrorMap((2, 2), (0, 1), 2, 2, 1.0, bytes(4))
    with pytest.raises(ValueError, match="heat map"):
        ErrorMap.from_record(error_map.record() | damage)


def planted(name: str, state: str, **seen: Any) -> dict[str, Any]:
    unseen: dict[str, Any] = {
        "family": "eps",
        "why": "",
        "gates": {},
        "killers": {},
        "ratio": None,
        "missed_by": [],
    }
    return {"block": "A", "name": name, "state": state} | unseen | seen


MUTANTS = {
    "gates": ["raised", "R fp32"],
    "usual": {"atol": "atol 1e-4", "cosine": "cosine 0.99"},
    "mutants": [
        planted(
            "x",
            "killed",
            gates={"R fp32": "out: 31"},
            killers={"A/defaults": {}},
            ratio=31.0,
            missed_by=["atol", "cosine"],
        ),
        planted("y", "equivalent"),
        planted("z", "survived"),
        planted("w", "broken"),
    ],
}


def test_the_kill_matrix_shows_survivors_first_and_what_usual_gates_miss() -> None:
    matrix = kill_matrix.matrix(MUTANTS)
    assert [kill.state for kill in matrix.kills] == ["broken", "survived", "equivalent", "killed"]
    assert matrix.gates == ("R fp32",)
    assert (matrix.missed("atol"), matrix.missed("cosine")) == (1, 1)
    text = Reader(html.page([record("A/defaults", "EXACT")], ENVIRONMENT, mutants=MUTANTS)).text
    assert re.search(r"4 bugs\s+were planted", text)
    assert "1 slipped through" in text
    assert "1 could not be judged" in text
    assert "would have passed the usual gate atol 1e-4" in " ".join(text.split())


def test_a_file_of_mutants_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="it has no 'mutants'"):
        kill_matrix.matrix({"cases": []})
    with pytest.raises(ValueError, match="it has no 'state'"):
        kill_matrix.matrix(MUTANTS | {"mutants": [{"block": "A", "name": "x", "family": "eps", "why": ""}]})


def test_the_templates_are_part_of_the_package() -> None:
    folder = package.FOLDER / "templates"
    page = (folder / "page.html.j2").read_text()
    for name in re.findall(r'include "([^"]+)"', page):
        assert (folder / name).is_file()


def test_svg_figures_are_well_formed() -> None:
    page = html.page([record("B/c", "WITHIN", 1.0)], ENVIRONMENT)
    (figure,) = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(list(ET.fromstring(figure).iter("rect"))) == 21
