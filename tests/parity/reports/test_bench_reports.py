"""A bench as JSON, tables, a page and the README's part: one report, the same figures everywhere."""

import dataclasses
import re
from xml.etree import ElementTree

import pytest

from parity.__main__ import main
from parity.bench.contestants import LOW, OURS, Contestant
from parity.bench.report import Entry, Figure, Report, surroundings
from parity.errors import UsageError
from parity.reports.bench import charts, page, readme, tables, words

MINE, META = Contestant(OURS, OURS), Contestant("meta", "meta")
OPENVINO, OPENVINO_LOW = (
    Contestant("openvino", "meta", "openvino"),
    Contestant("openvino", "meta", "openvino", LOW),
)
INSIDE = Contestant("openvino", OURS, "openvino")


def entry(row: str, one: Contestant, seconds: float, ratio: float, **more) -> Entry:
    times = Figure(seconds, seconds / 2, seconds * 2)
    place = int(row.rpartition("-")[2])
    figures = {
        "wall": times,
        "processor": times,
        "ratio": Figure(ratio, ratio - 0.1, ratio + 0.1),
        "peak": 3e8,
        "process": 1.5e9,
        "set_up": 0.25,
        "error": 2e-7,
        "rate": 0.5,
        "curves": (("decoder", "prompts", place),),
    }
    return Entry(row, f"decoder, {place} clicks", "decoder", one, 1, **{**figures, **more})


@pytest.fixture
def report() -> Report:
    entries = [
        entry("d-1", MINE, 0.1, 1.0),
        entry("d-1", META, 0.2, 2.0),
        entry("d-1", OPENVINO, 0.08, 0.8, convert=4.0),
        entry("d-1", INSIDE, 0.07, 0.7),
        Entry(
            "d-1",
            "decoder, 1 clicks",
            "decoder",
            OPENVINO_LOW,
            1,
            "OpenVINO has no bfloat16\non this | processor",
        ),
        entry("d-64", MINE, 3.0, 1.0),
        entry("d-64", META, 15.0, 5.0),
    ]
    environment = surroundings(device="cpu", size=1024, threads=[1], rounds=3)
    imports: dict[str, dict] = {
        "samblocks": {"seconds": 0.1, "processor": 0.05, "memory": 2e6},
        "sam2": {"reason": "it is missing"},
    }
    return Report(environment, entries, {"1 float32": 1e11}, {}, imports)


def test_json_comes_back_as_it_was(report, tmp_path):
    file = tmp_path / "bench.json"
    file.write_text(report.json())
    assert Report.read(file) == report
    file.write_text('{"schema": 1}')
    with pytest.raises(
        UsageError, match=r"bench\.json is not what `parity bench --json` writes: its schema is not 2"
    ):
        Report.read(file)
    with pytest.raises(UsageError, match="is not what"):
        Report.read(tmp_path / "missing")


def test_tables_say_all_and_have_equal_columns(report):
    found = list(tables.lines(report))
    for start in (place for place, line in enumerate(found) if line.startswith("|---")):
        rows = found[start - 1 :]
        rows = rows[: next((n for n, line in enumerate(rows) if not line.startswith("|")), len(rows))]
        assert len({line.count("|") for line in rows}) == 1
    text = "\n".join(found)
    assert "| Meta, f32 | 200 ms (100 ms to 400 ms) |" in text
    assert "| 2.00 (1.90 to 2.10) | 50 % | 300 MB | 1.50 GB | 250 ms | 2.0e-07 |" in text
    assert "250 ms + 4 s" in text
    assert "NOT RUN: OpenVINO has no bfloat16 on this / processor" in text
    assert (
        "Ahead of our eager code: Meta in OpenVINO, f32: decoder, 1 clicks (0.80); samblocks in OpenVINO"
        in text
    )
    assert "100 GF/s in float32 with 1 thread(s)" in text
    assert "| sam2 | NOT RUN: it is missing | | |" in text


def test_growth_is_told_as_multiples_of_the_smallest(report):
    found = list(tables.growth(report))
    assert "| decoder by prompts, 1 thread | 1 | 64 |" in found
    assert "| samblocks, f32 | 100 ms (×1.0) | 3 s (×30.0) |" in found
    assert "| Meta, f32 | 200 ms (×1.0) | 15 s (×75.0) |" in found
    assert not any("OpenVINO" in line for line in found)  # one place is no curve


def test_the_page_is_whole_and_fetches_nothing(report):
    text = page.page(report)
    assert text.count("<svg") == 3  # ratios, memory, growth by prompts
    for drawn in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(drawn)
    assert set(re.findall(r"https?://[^\"\s]*", text)) == {"http://www.w3.org/2000/svg"}
    assert text.count("<table>") == text.count("</table>") == 4
    assert "NOT RUN: OpenVINO has no bfloat16" in text


def test_a_bar_ends_where_its_value_is(report):
    drawn = ElementTree.fromstring(charts.ratios(report, 1))
    bars = [node for node in drawn.iter() if node.tag.endswith("rect") and list(node)]
    widths = {node[0].text: float(node.attrib["width"]) for node in bars}
    fast = widths["decoder, 1 clicks: Meta, f32: 2.00×"]
    slow = widths["decoder, 1 clicks: Meta in OpenVINO, f32: 0.80×"]
    assert fast / slow == pytest.approx(3.106, rel=0.02)  # log 2 / -log 0.8
    assert charts.ratios(dataclasses.replace(report, entries=()), 1) == ""


def test_what_a_runtime_says_is_one_short_reason_in_the_readme(report):
    why = "cannot be converted: OpConversionFailure: Check 'false' failed at src/frontends/" + "x" * 5000
    none = [
        Entry(f"d-{n}", f"decoder, {n} clicks", "decoder", one, 1, why)
        for n in (1, 64)
        for one in (OPENVINO, INSIDE)
    ]
    last = list(
        readme.lines(dataclasses.replace(report, entries=[*report.entries[:2], *none]), picture=False)
    )[-1]
    said = "OpenVINO, samblocks in OpenVINO on decoder, 1 clicks / decoder, 64 clicks"
    assert last == f"NOT RUN: {said}: cannot be converted: OpConversionFailure."


def test_the_name_of_a_row_is_not_cut_off(report):
    long = [dataclasses.replace(entry, title="m" * 60) for entry in report.entries]
    drawn = ElementTree.fromstring(charts.ratios(dataclasses.replace(report, entries=long), 1))
    [name] = [node for node in drawn.iter() if node.text == "m" * 60]
    assert float(name.attrib["x"]) > 60 * 6.5


def test_the_readme_gets_a_table_between_its_marks_and_a_picture(report, tmp_path):
    file = tmp_path / "README.md"
    file.write_text(f"before\n{readme.BEGIN}\nstale figures\n{readme.END}\nafter\n")
    for _ in range(2):  # a second time replaces the first
        readme.write(report, file)
    text = file.read_text()
    assert text.startswith(f"before\n{readme.BEGIN}\n")
    assert text.endswith(f"{readme.END}\nafter\n")
    assert "stale" not in text
    assert "| decoder, 1 clicks | 100 ms (1.50 GB) | 2.00 (1.50 GB) | **0.80** (1.50 GB) |" in text
    assert "samblocks in OpenVINO" in text
    assert "OpenVINO bf16 on decoder, 1 clicks: OpenVINO has no bfloat16 on this | processor" in text
    assert text.count("| 1 thread |") == 1
    ElementTree.fromstring((tmp_path / readme.PICTURE).read_text())
    assert f"]({readme.PICTURE.as_posix()})" in text
    assert str(report.environment["date"]) in text


def test_a_readme_without_marks_is_refused_and_kept(report, tmp_path, capsys):
    file = tmp_path / "README.md"
    file.write_text("nothing to replace\n")
    with pytest.raises(UsageError, match="must hold <!-- bench: begin --> once"):
        readme.write(report, file)
    assert main(["bench", "--readme", str(file), "--only", "vit-b"]) == 2
    assert file.read_text() == "nothing to replace\n"
    assert "the table goes between them" in capsys.readouterr().err


def test_earlier_benches_are_reported_without_measuring(report, tmp_path, capsys):
    one, other, out = tmp_path / "one.json", tmp_path / "other.json", tmp_path / "out.html"
    one.write_text(report.json())
    later = dataclasses.replace(report, entries=[entry("d-1", META, 0.4, 4.0)], imports={})
    other.write_text(later.json())
    assert main(["bench", "--from", str(one), "--from", str(other), "--html", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "| Meta, f32 | 400 ms" in printed
    assert "200 ms (100 ms" not in printed
    assert "| Meta, f32 | 15 s" in printed
    assert "import, beyond torch" in printed
    assert out.read_text().startswith("<!doctype html>")
    strange = dataclasses.replace(report, environment={**report.environment, "machine": "another"})
    other.write_text(strange.json())
    assert main(["bench", "--from", str(one), "--from", str(other)]) == 2
    assert "benches of different kinds do not make one: machine is" in capsys.readouterr().err


def test_numbers_are_shown_with_the_digits_that_count():
    shown = [words.seconds(value) for value in (0.00123, 0.123456, 1.5, 23.7, 431.0)]
    assert shown == ["1.23 ms", "123 ms", "1.5 s", "23.7 s", "431 s"]
    assert [words.size(value) for value in (1.5e9, 3.2e7)] == ["1.50 GB", "32 MB"]
