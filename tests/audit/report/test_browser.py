"""The page in a real browser, headless: no errors, both colour schemes, tables that sort."""

import re
import shutil
import subprocess

import pytest
from PIL import Image, ImageStat

from ggl_lightning.audit.report import build_report
from tests.audit.report.fabricated import Plan, write_run

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return build_report([write_run(folder, Plan(attacks=("cma", "adam"), rounds=5))], folder)


def browse(page, profile, *options):
    """Opens a page that must log nothing; returns what the browser prints."""
    printed, console = visit(page, profile, *options)
    assert console == []
    return printed


def visit(page, profile, *options):
    """Opens a page; returns what the browser prints, and the lines of the page's console."""
    ended = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
            *(f"--user-data-dir={profile}", "--hide-scrollbars", *options, page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=900,
        check=True,
    )
    return ended.stdout, [line for line in ended.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("width", [1280, 500])
def test_it_opens_without_errors_and_does_not_scroll_sideways(report, tmp_path, width):
    probe = "document.title = document.documentElement.scrollWidth + ' ' + window.innerWidth"
    page = with_script(report, tmp_path, probe)
    document = browse(page, tmp_path / "profile", f"--window-size={width},900", "--dump-dom")
    needed, available = map(int, re.search(r"<title>(\d+) (\d+)</title>", document).groups())
    assert available == width
    assert needed <= width


def test_it_follows_the_colour_scheme(report, tmp_path):
    brightness = {}
    for scheme, setting in (("dark", 0), ("light", 1)):
        picture = tmp_path / f"{scheme}.png"
        browse(
            report,
            tmp_path / "profile",
            "--window-size=1280,2400",
            f"--screenshot={picture}",
            f"--blink-settings=preferredColorScheme={setting}",
        )
        with Image.open(picture) as shot:
            brightness[scheme] = ImageStat.Stat(shot.convert("L")).median[0]
    assert brightness["dark"] < 60
    assert brightness["light"] > 200


def test_a_click_on_a_heading_sorts_the_table(report, tmp_path):
    script = """
        const table = document.getElementById("table-verdict");
        const heading = table.tHead.rows[0].cells[8];
        const values = () => Array.from(table.tBodies[0].rows, (r) => +r.cells[8].dataset.value);
        const seen = [heading.getAttribute("aria-sort")];
        for (let i = 0; i < 2; i++) {
          heading.querySelector("button").click();
          seen.push(heading.getAttribute("aria-sort"), values().join(" "));
        }
        document.title = seen.join("|");
    """
    document = browse(with_script(report, tmp_path, script), tmp_path / "profile", "--dump-dom")
    seen = re.search(r"<title>(.*?)</title>", document).group(1).split("|")
    assert (seen[0], seen[1], seen[3]) == ("none", "ascending", "descending")
    rising, falling = ([float(v) for v in values.split()] for values in (seen[2], seen[4]))
    assert len(rising) == 8
    assert rising == sorted(rising)
    assert falling == rising[::-1]


def with_script(report, folder, script):
    """A copy of the page that runs a test's script, which the page itself would refuse."""
    text = report.read_text(encoding="utf-8")
    text, count = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    assert count == 1
    page = folder / "scripted.html"
    page.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    return page


def test_scripts_that_are_not_its_own_are_refused(report, tmp_path):
    """What makes the page's policy worth having, should any escaping ever be forgotten."""
    page = tmp_path / "injected.html"
    text = report.read_text(encoding="utf-8")
    injected = "<script>document.title = 'ran'</script></body>"
    page.write_text(text.replace("</body>", injected), encoding="utf-8")
    document, console = visit(page, tmp_path / "profile", "--dump-dom")
    assert "<title>ran</title>" not in document
    assert [line for line in console if "Content Security Policy" in line]
