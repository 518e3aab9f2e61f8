"""A page in a headless Chromium, measured from outside."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from html import escape, unescape
from pathlib import Path

import pytest

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


def find_chromium() -> str:
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
