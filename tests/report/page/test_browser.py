"""The page of a real run in headless Chromium: no script error, no outside request, nothing cut off on the right."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium; name it in the environment: CHROMIUM=…"),
]
# Runs in the page: how far it reaches beyond the window, and what it loads besides itself.
PROBE = """<script>
addEventListener("load", () => {
  const found = {
    overflow: document.documentElement.scrollWidth - innerWidth,
    resources: performance.getEntriesByType("resource").map(entry => entry.name).filter(name => !name.startsWith("data:")),
    broken: [...document.images].filter(image => !image.naturalWidth).length,
    images: document.images.length,
  };
  document.title = JSON.stringify(found);
});
</script>"""


def browse(page: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Chromium with the page, a profile of its own, and no network."""
    command = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        "--enable-logging=stderr",
        f"--user-data-dir={folder / 'profile'}",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        *options,
        page.as_uri(),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def asked_by_the_page(log: Path) -> list[str]:
    """Lines of Chromium's log of requests that a page began, rather than Chromium for itself."""
    lines = log.read_text().splitlines()
    return [
        line
        for line in lines
        if '"initiator":"' in line and '"initiator":"not an origin"' not in line and '"url":"http' in line
    ]


@pytest.fixture(params=["trained_run", "crossval_run"])
def page(request) -> Path:
    return request.getfixturevalue(request.param).directory / "report.html"


@pytest.mark.parametrize("width", [1280, 390])
def test_it_loads_nothing_says_nothing_and_fits(page, tmp_path, width):
    html = page.read_text(encoding="utf-8")
    # The policy of the page forbids scripts, so the probe's copy goes without it.
    start, end = html.index('<meta http-equiv="Content-Security-Policy"'), html.index("<title>")
    probed = tmp_path / "probed.html"
    probed.write_text(html[:start] + PROBE + html[end:], encoding="utf-8")
    ended = browse(probed, tmp_path, f"--window-size={width},900", "--dump-dom")
    found = json.loads(ended.stdout.split("<title>", 1)[1].split("</title>", 1)[0].replace("&quot;", '"'))
    assert found["resources"] == []
    assert found["broken"] == 0
    assert found["images"] >= 7
    assert found["overflow"] <= 0


def test_under_its_own_policy_it_has_no_complaint(page, tmp_path):
    ended = browse(page, tmp_path, "--dump-dom")
    assert "CONSOLE" not in ended.stderr
    requests = tmp_path / "requests.json"
    browse(page, tmp_path, f"--log-net-log={requests}", "--dump-dom")
    assert asked_by_the_page(requests) == []


def test_a_page_that_asks_outside_would_be_caught(tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<title>x</title><img src='http://example.org/x.png'><script>undefined_function()</script>"
    )
    requests = tmp_path / "requests.json"
    ended = browse(bad, tmp_path, f"--log-net-log={requests}", "--dump-dom")
    assert "CONSOLE" in ended.stderr
    assert any("example.org" in line for line in asked_by_the_page(requests))
