"""The page in a real browser: it fits, says nothing wrong, and asks nobody for anything."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from html import escape, unescape
from pathlib import Path

import pytest

from quintain.report import render
from quintain.results.records import Record, RequirementResult
from quintain.results.robustness_records import AttackResult
from quintain.results.verdict import Decision, Verdict

from .sample import accuracy, record

pytestmark = pytest.mark.browser

_QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)

_MEASURE = """
const measure = frame => {
const inside = frame.contentDocument;
inside.querySelectorAll('details').forEach(one => one.open = true);
const root = inside.documentElement, clash = [], outside = [];
const words = node => node.textContent.trim();
inside.querySelectorAll('svg').forEach(drawing => {
  const texts = [...drawing.querySelectorAll('text')];
  const boxes = texts.map(text => text.getBoundingClientRect());
  boxes.forEach((a, i) => {
    if (a.left < 0 || a.right > root.clientWidth) outside.push(words(texts[i]));
    boxes.slice(0, i).forEach((b, j) => {
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (wide > 0.5 && high > 3) clash.push(words(texts[i]) + ' | ' + words(texts[j]));
    });
  });
});
const beyond = [...inside.querySelectorAll('main *')]
  .filter(node => !node.closest('.scroll') && !node.closest('svg'))
  .filter(node => node.getBoundingClientRect().right > root.clientWidth + 0.5)
  .map(node => node.tagName + ' ' + words(node).slice(0, 40));
const pictures = [...inside.querySelectorAll('img')];
return {
  width: root.clientWidth, scroll: root.scrollWidth, clash, outside, beyond,
  shown: pictures.filter(one => one.complete && one.naturalWidth > 0).length, pictures: pictures.length,
  requests: frame.contentWindow.performance.getEntriesByType('resource').map(one => one.name),
  ground: frame.contentWindow.getComputedStyle(inside.body).backgroundColor,
  bar: frame.contentWindow.getComputedStyle(inside.querySelector('.card')).borderTopStyle,
};
};
const pre = document.createElement('pre');
pre.textContent = JSON.stringify([...document.querySelectorAll('iframe')].map(measure));
document.body.append(pre);
"""


@pytest.fixture(scope="session")
def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        message = (
            "no Chromium on this machine (Debian: apt-get install chromium), so the report was not opened in "
            "a browser"
        )
        if os.environ.get("QUINTAIN_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return found


TRIES = 3
"""A browser that is short of time may hash a style that it has read by half, and complain; it does not do so
every time.
"""


class Complaint(AssertionError):
    """The browser wrote to its console."""


def browse(chromium: str, home: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """One run of the browser with a profile of its own."""
    command = [chromium, *_QUIET, f"--user-data-dir={home / 'profile'}", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def measured(
    chromium: str, home: Path, pages: Sequence[tuple[str, int]], *flags: str, tries: int = TRIES
) -> list[dict[str, object]]:
    """Each page in a frame of its width, unchanged, with its own policy; measured from outside, all by one
    run of the browser.
    """
    outer = home / "outer.html"
    frames = "".join(
        f'<iframe width="{width}" height="900" style="border:0" srcdoc="{escape(html)}"></iframe>'
        for html, width in pages
    )
    outer.write_text(
        f"<!doctype html><body>{frames}<script>window.onload = () => {{{_MEASURE}}}</script></body>",
        encoding="utf-8",
    )
    size = f"--window-size={max(width for _, width in pages) + 60},1000"
    for _ in range(tries):
        ran = browse(
            chromium, home, size, "--enable-logging=stderr", "--v=0", "--dump-dom", *flags, outer.as_uri()
        )
        complaints = [line for line in ran.stderr.splitlines() if "CONSOLE" in line]
        if not complaints:
            break
    else:
        raise Complaint(complaints)
    text = ran.stdout.rpartition("<pre>")[2].partition("</pre>")[0]
    found: list[dict[str, object]] = json.loads(unescape(text))
    assert len(found) == len(pages)
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_report_fits_and_asks_nobody(
    chromium: str, records: tuple[Record, ...], folder: Path, tmp_path: Path, theme: str
) -> None:
    flags = ["--blink-settings=preferredColorScheme=0"] if theme == "dark" else []
    page, widths = render(records, folder), (1200, 390)
    for width, found in zip(
        widths, measured(chromium, tmp_path, [(page, width) for width in widths], *flags), strict=True
    ):
        assert found["width"] == found["scroll"] == width
        assert found["beyond"] == found["clash"] == found["outside"] == []
        assert found["shown"] == found["pictures"] == 18
        assert found["requests"] == []
        assert found["ground"] == {"light": "rgb(251, 250, 247)", "dark": "rgb(20, 24, 26)"}[theme]
        assert found["bar"] == "solid"


FORBIDDEN = {
    "img-src": '<img src="http://quintain.invalid/a.png" alt="">',
    "script-src": "<script>1</script>",
    "style-src": '<p style="color:red">',
}


def test_the_policy_bites(chromium: str, records: tuple[Record, ...], folder: Path, tmp_path: Path) -> None:
    """Each forbidden thing, in a page of its own, brings a complaint of its own."""
    page = render(records[:1], folder)
    pages = [(page.replace("</main>", f"{wrong}</main>"), 1200) for wrong in FORBIDDEN.values()]
    with pytest.raises(Complaint, match="Content Security Policy") as caught:
        measured(chromium, tmp_path, pages, tries=1)
    told = caught.value.args[0]
    assert [
        kind
        for kind in FORBIDDEN
        if not any(kind in line and "Content Security Policy" in line for line in told)
    ] == []


def test_labels_stay_apart_in_the_hard_cases(chromium: str, folder: Path, tmp_path: Path) -> None:
    sides = [
        (0, 1),
        (0, 0),
        (623, 624),
        (624, 624),
        (455, 461),
        (310, 312),
        (1, 624),
        (300, 250),
        (0, None),
        (None, 480),
    ]
    name = (
        "Robust accuracy of the third model of the second hospital after "
        "certified_training_with_a_very_long_unbroken_name"
    )
    claims = tuple(accuracy(f"net{index}:linf:4/255", name, *pair) for index, pair in enumerate(sides))
    answer = Verdict(Decision.FAIL, "between 0 and 1")
    judged = tuple(
        RequirementResult(
            f"robust_accuracy(linf:4/255, model=net{index}) >= 0.{71 + index}", answer, claim.name
        )
        for index, claim in enumerate(claims)
    )
    page, widths = (
        render((replace(record(AttackResult(()), claims), requirements=judged),), folder),
        (1200, 390, 360),
    )
    for width, found in zip(
        widths, measured(chromium, tmp_path, [(page, width) for width in widths]), strict=True
    ):
        assert found["beyond"] == found["clash"] == found["outside"] == []
        assert found["scroll"] == width


def test_the_file_itself_opens_and_goes_to_paper(
    chromium: str, records: tuple[Record, ...], folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(render(records, folder), encoding="utf-8")
    ran = browse(
        chromium,
        tmp_path,
        "--enable-logging=stderr",
        "--v=0",
        "--no-pdf-header-footer",
        f"--print-to-pdf={tmp_path / 'report.pdf'}",
        path.as_uri(),
    )
    assert not [line for line in ran.stderr.splitlines() if "CONSOLE" in line]
    paper = (tmp_path / "report.pdf").read_bytes()
    assert paper.startswith(b"%PDF-")
    assert 4 <= paper.count(b"/Type /Page\n") + paper.count(b"/Type /Page ") <= 30
