"""The page: whole, silent towards the network, honest about what is missing."""

import base64
import hashlib
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from quintain.core.errors import RunFolderError
from quintain.report import format as fmt
from quintain.report import read, render, write
from quintain.report.page import REPORT_FILE
from quintain.results import codec
from quintain.results.privacy_records import (
    FederateResult,
    LeakResult,
)
from quintain.results.records import DrillResult, NamedHash, Record
from quintain.results.robustness_records import (
    AttackResult,
    CertifyResult,
    TrainResult,
)
from tests.report.support.claims import accuracy
from tests.report.support.reading import Page
from tests.report.support.sample import record, record_of


def test_it_is_one_document_without_script_link_or_inline_style(page: Page) -> None:
    names = {name for name, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "base"}
    assert not [
        name
        for name, attributes in page.tags
        if "style" in attributes or any(key.startswith("on") for key in attributes)
    ]
    assert [len(page.all(tag)) for tag in ("html", "head", "body", "title", "h1", "main")] == [1] * 6
    anchors = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(anchors)) == len(anchors)
    assert {link["href"] for link in page.all("a")} <= {f"#{anchor}" for anchor in anchors}


def test_nothing_in_it_can_be_requested(html: str, page: Page) -> None:
    assert not re.search(r"https?:|//[a-z]|url\(|@import|file:", re.sub(r"base64,[\w+/=]+", "", html))
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))


def test_the_policy_allows_this_style_and_data_pictures_alone(html: str, page: Page) -> None:
    policy = next(
        meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"
    )
    style = re.search(r"<style>(.*?)</style>", html, re.S)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert html.index("Content-Security-Policy") < html.index("<style>")


def test_every_section_is_there_and_linked(page: Page) -> None:
    anchors = [attributes["id"] for attributes in page.all("section") if "id" in attributes]
    assert anchors == [
        "training",
        "attack",
        "certificates",
        "privacy",
        "leaks",
        "federation",
        "trust",
        "record",
    ]
    assert [link["href"] for link in page.all("a")] == [f"#{anchor}" for anchor in anchors]


def test_every_claim_shows_both_sides_and_its_interval(records: tuple[Record, ...], page: Page) -> None:
    claims = [claim for one in records for claim in one.claims]
    assert len(claims) > 15
    for claim in claims:
        kind = claim.bracket.quantity.metric
        assert claim.title in page.text
        assert fmt.metric_value(kind, claim.bracket.lower.value) in page.text
        assert fmt.metric_value(kind, claim.bracket.upper.value) in page.text
        assert fmt.interval(kind, *claim.bracket.confidence_interval()) in page.text


def test_the_prototype_figures_stand_where_they_belong(page: Page) -> None:
    for words in (
        "1 undecided 2 passed bounds consistent",
        "Certified 455 by interval bounds, undecided 6 (1.0 %), misclassified or broken 163 of 624.",
        "Both bounds are above the majority class.",
        "Not above the majority class.",
        "certified training 83.5 % 73.9 % 72.9 % ∞ (no DP)",
        "majority class 62.5 % 62.5 % 62.5 % 0",
        "private model 83.0 % – – 3.00",
        "An audit of this size can detect at most 5.10 with 95 % confidence.",
        "from a plain update, 33.1 dB",
        "what the server saw, round 3",
        "hidden vectors 4 of 5",
        "624 examples tested",
        "seed 7",
        "24 Nov 2026, 13:04 UTC",
        "Quintain 0.1.0",
        "quintain drill --seed 7 --out runs/2026-11-24",
        "float32 rounding is small",
        "20 training rows repeat another one",
    ):
        assert words in page.text


def test_drawings_and_pictures_speak(page: Page) -> None:
    drawings = page.all("svg")
    assert len(drawings) > 20
    assert all(drawing["role"] == "img" and len(drawing["aria-label"]) > 6 for drawing in drawings)
    assert len(page.all("img")) == 12 + 6
    assert all(image["alt"] for image in page.all("img"))
    assert any(
        drawing["aria-label"].startswith(
            "certified 72.9 %, attacked 73.9 %, 95 %: 69.2 .. 77.3 %, required ≥ 65.0 %"
        )
        for drawing in drawings
    )


@pytest.mark.parametrize("number", range(10))
def test_each_record_alone_makes_a_page(records: tuple[Record, ...], folder: Path, number: int) -> None:
    alone = Page(render(records[number : number + 1], folder))
    assert alone.text.count("Provenance") >= 1
    assert "no requirements given" in alone.text or isinstance(records[number].result, DrillResult)
    assert "None" not in alone.text
    assert "Undefined" not in alone.text


@pytest.mark.parametrize("number", range(10))
def test_any_record_may_be_missing(records: tuple[Record, ...], folder: Path, number: int) -> None:
    rest = Page(render(records[:number] + records[number + 1 :], folder))
    assert rest.text.startswith("Drill on xrays.test")
    assert ("unfinished" in rest.text) == (number == 9)
    assert "None" not in rest.text


def test_bare_bodies_make_a_page(records: tuple[Record, ...], folder: Path) -> None:
    attacked = record_of(records, AttackResult).result
    certified = record_of(records, CertifyResult).result
    federated = record_of(records, FederateResult).result
    assert isinstance(attacked, AttackResult)
    assert isinstance(certified, CertifyResult)
    assert isinstance(federated, FederateResult)
    bare = (
        AttackResult((replace(attacked.models[0], rows=()),)),
        AttackResult(()),
        CertifyResult((replace(certified.models[0], curve_eps=(), requested_eps=(), certifier=""),)),
        replace(federated, rounds=(), sites=()),
        replace(federated, rounds=federated.rounds[:1], sites=()),
        DrillResult((), (), 0, True),
    )
    for body in bare:
        assert "Provenance" in Page(render((record(body),), folder)).text


def test_what_people_wrote_is_escaped(records: tuple[Record, ...], folder: Path) -> None:
    attack = "<script>alert(1)</script>"
    quote = 'x" onload="alert(2)'
    leak = record_of(records, LeakResult)
    assert isinstance(leak.result, LeakResult)
    trained = record_of(records, TrainResult)
    assert isinstance(trained.result, TrainResult)
    model = replace(trained.result.training.model, title=attack)
    hostile = (
        replace(trained, result=TrainResult(replace(trained.result.training, model=model, settings=quote))),
        replace(
            leak,
            result=replace(leak.result, original=replace(leak.result.original, caption=attack)),
            notes=(attack, quote),
        ),
        replace(
            record_of(records, CertifyResult),
            claims=tuple(
                replace(one, title=attack, model=quote)
                for one in record_of(records, CertifyResult).claims[:1]
            ),
            provenance=replace(leak.provenance, command=attack, data=NamedHash(attack, quote)),
        ),
    )
    html = render(hostile, folder)
    assert "<script" not in html
    assert attack in Page(html).text
    assert not [name for name, attributes in Page(html).tags if "onload" in attributes]


def test_a_folder_is_read_whole_and_in_order(folder: Path, records: tuple[Record, ...]) -> None:
    assert [one.result.kind for one in records] == [
        path.stem[3:] for path in sorted(folder.glob("[0-9]*.json"))
    ]
    path = write(folder)
    assert path == folder / REPORT_FILE
    assert path.read_text(encoding="utf-8") == render(records, folder)
    assert not list(folder.glob(".report*"))


def test_a_result_of_one_verb_is_enough(tmp_path: Path) -> None:
    codec.save(
        record(AttackResult(()), (accuracy("net:linf:4/255", "Robust accuracy, net", None, 372),)),
        tmp_path / "result.json",
    )
    text = Page(write(tmp_path).read_text(encoding="utf-8")).text
    assert text.startswith("Attack on xrays.test")
    assert "not certified" in text


def test_a_damaged_record_is_never_skipped(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "03-attack.json").write_bytes((folder / "03-attack.json").read_bytes()[:5000])
    with pytest.raises(RunFolderError, match="03-attack"):
        write(copy)


@pytest.mark.parametrize("make", [True, False])
def test_nothing_to_report_is_an_error(tmp_path: Path, make: bool) -> None:
    place = tmp_path / "empty"
    if make:
        place.mkdir()
        (place / "run.json").write_text("{}")
    with pytest.raises(RunFolderError, match="empty"):
        read(place)
    with pytest.raises(RunFolderError, match="no result"):
        render((), place)


def test_the_report_never_loads_torch() -> None:
    code = (
        "import sys, quintain.report; from quintain.report import ClaimChange, compare, render, write, "
        "key_rows; sys.exit(any(name == 'torch' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_words_keep_their_contrast() -> None:
    style = (
        Path(sys.modules["quintain.report.page"].__file__ or "")
        .parent.joinpath("templates", "style.css")
        .read_text(encoding="utf-8")
    )
    themes = [
        dict(re.findall(r"--([\w-]+): (#\w{6})", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.S)
    ]
    assert len(themes) == 3
    for theme in themes:
        for ink in ("ink", "soft", "proved-ink", "broken-ink", "open-ink"):
            for ground in ("bg", "card"):
                assert contrast(theme[ink], theme[ground]) >= 4.5, (ink, ground, theme)
        for ground in ("proved-ink", "broken-ink", "open-ink"):
            assert contrast(theme["on"], theme[ground]) >= 4.5, (ground, theme)
        for area in ("proved", "broken", "plain"):
            assert contrast(theme[area], theme["card"]) >= 3, (area, theme)


def contrast(one: str, other: str) -> float:
    """WCAG 2.1 contrast ratio."""

    def light(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((light(one), light(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)
