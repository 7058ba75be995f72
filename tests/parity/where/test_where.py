"""`parity where`: from a name to its code, what pins it, and what it is called elsewhere."""

from pathlib import Path

import pytest

from parity.__main__ import main
from parity.cases import all_cases
from parity.where import where
from parity.where.key_rules import places_of, rules_of
from samblocks.blocks import CXBlock, MultiScaleBlock
from samblocks.models import MaskDecoder

ROOT = Path(__file__).parents[3]


def test_it_names_definition_upstream_cases_goldens_rules_and_tests(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["where", "CXBlock"]) == 0
    out = capsys.readouterr().out
    for text in (
        "samblocks/blocks/mask.py:",
        "facebookresearch/sam2 sam2/modeling/memory_encoder.py",
        "CXBlock/defaults: ",
        "parity/goldens/meta/CXBlock: ",
        "memory_encoder.fuser.layers.{i}.gamma <-> memory_encoder.memory_fuser.layers.{i}.scale",
        "tests/parity/where/test_where.py:",
    ):
        assert text in out


def test_long_lists_are_cut_unless_all_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    main(["where", "MaskDecoder"])
    assert "more: --all" in capsys.readouterr().out
    main(["where", "MaskDecoder", "--all"])
    out = capsys.readouterr().out
    assert "more: --all" not in out
    assert out.count("\n  transformers, ") > 12


def test_the_definition_is_on_the_line_it_says() -> None:
    place = where.find("CXBlock").place
    assert (ROOT / place.file).read_text().splitlines()[place.line - 1].startswith("class CXBlock")
    place = where.find("window_partition").place
    assert (ROOT / place.file).read_text().splitlines()[place.line - 1].startswith("def window_partition")


def test_a_case_is_found_by_its_id() -> None:
    subject = where.find("CXBlock/defaults")
    assert subject.name == "CXBlock"
    assert [case.name for case in subject.cases] == ["defaults"]


def test_an_unknown_name_is_one_sentence_with_the_closest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["where", "cxblok"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("parity: nothing is called 'cxblok'; did you mean CXBlock or ")
    assert error.count("\n") == 1
    assert main(["where", "CXBlock/default"]) == 2
    assert "did you mean CXBlock/defaults" in capsys.readouterr().err
    assert main(["where", "zzzzzzzz"]) == 2
    assert "`parity cases` lists what there is" in capsys.readouterr().err


def test_every_case_has_a_line_that_speaks_of_it() -> None:
    lines = {file: file.read_text().splitlines() for file in (ROOT / "parity" / "cases").glob("*.py")}
    for case in all_cases().values():
        place = where.location(case.id, ROOT)
        assert place is not None
        assert 1 <= place.line <= len(lines[ROOT / place.file])
    assert where.location("no/such", ROOT) is None


def test_modules_are_found_in_the_models_and_rules_for_them() -> None:
    assert places_of(CXBlock) == {"sam2.1_hiera_tiny": ["memory_encoder.fuser.layers.#"]}
    assert places_of(MaskDecoder) == {"sam_vit_b": ["mask_decoder"], "mobile_sam": ["mask_decoder"]}
    rules = list(rules_of(MultiScaleBlock))
    assert {rule.layout for rule in rules} == {"transformers", "timm", "muggled"}
    assert all(name.startswith("image_encoder.trunk.blocks.") for rule in rules for name in rule.meta)


def test_a_damaged_golden_is_said_to_be_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = all_cases()["CXBlock/defaults"]
    file = tmp_path / "golden.safetensors"
    file.write_bytes(b"no")
    monkeypatch.setattr("parity.run.goldens.path_of", lambda case, reference: file)
    assert "is damaged" in next(iter(where.goldens_of([case])))


def test_a_name_that_no_test_mentions_has_none() -> None:
    assert where.tests_of("Unheard" + "OfName") == []
