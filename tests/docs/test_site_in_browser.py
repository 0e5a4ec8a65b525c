"""The site as it was built: every link leads somewhere, and pages work in a real browser."""

import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from devtools import CHROMIUM, Browser

SITE = Path(__file__).parents[2] / "docs" / "_build" / "html"
PAGES = ("index", "gradients_and_methods", "illustrated", "api/index", "api/unroll", "results")

# What someone new asks, and what stands on the page that answers.
QUESTIONS = {
    "how do I write my own cell with a rule": (
        "initial_carry",
        "backward(params, tape",
        "gradients.check(",
    ),
    "which gradient for T = 10^5": ("10⁵", "checkpointed()"),
    "why does my tanh net not learn": ("Why does my net not learn?", "orthogonal", "tanh"),
    "how do I resume a run": ("--resume", "resume=True"),
}

pytestmark = pytest.mark.skipif(
    not (SITE / "index.html").exists(), reason="no site: python -m sphinx docs docs/_build/html"
)
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")


class _Page(HTMLParser):
    """What a page says and links to, and what can be linked to in it."""

    def __init__(self, path: Path):
        super().__init__()
        self.links: list[str] = []  # also to pictures and scripts
        self.linked: set[Path] = set()  # the pages that the article itself links to
        self.text = ""
        self.anchors: set[str | None] = {"", "top"}
        self._path, self._in_article = path, False
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self._in_article |= tag == "article"
        self.anchors |= {found.get("id"), found.get("name")}
        self.links += filter(None, (found.get("href"), found.get("src")))
        if self._in_article and tag == "a":
            self.linked.add(_target(self._path, found.get("href") or ""))

    def handle_endtag(self, tag):
        self._in_article &= tag != "article"

    def handle_data(self, data):
        self.text += data if self._in_article else ""


def _target(path: Path, link: str) -> Path:
    """The file that a link on a page leads to."""
    parts = urlsplit(link)
    return (path.parent / unquote(parts.path)).resolve() if parts.path else path


@pytest.fixture(scope="module")
def pages() -> dict[Path, _Page]:
    others = ("_static", "_modules", "illustrations")
    found = [p for p in SITE.rglob("*.html") if p.relative_to(SITE).parts[0] not in others]
    return {path: _Page(path) for path in found}


def test_every_link_within_the_site_leads_somewhere(pages):
    broken: list[tuple[str, str]] = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link == "#":
                continue
            target = _target(path, link)
            known = pages[target].anchors if target in pages else {unquote(parts.fragment)}
            if not target.exists() or unquote(parts.fragment) not in known:
                broken.append((path.name, link))
    assert sorted({*broken}) == []
    assert len(pages) > 40


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_answered_two_clicks_from_the_start(pages, question):
    once = pages[SITE / "index.html"].linked & {*pages}
    twice = once.union(*(pages[path].linked & {*pages} for path in once))
    answers = [p.name for p in twice if all(part in pages[p].text for part in QUESTIONS[question])]
    assert answers != []


@pytest.fixture(scope="module")
def address():
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=SITE)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


def _complaints(browser: Browser) -> list[object]:
    """What the console says, but for the notes of the theme."""
    said = [message for message in browser.messages if message.get("type") not in ("log", "debug")]
    browser.messages.clear()
    return said


@in_browser
@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_without_complaints_and_fits_narrow_screens(browser, address, page):
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.requests.clear()
    browser.send("Emulation.setDeviceMetricsOverride", **size)
    browser.open(f"{address}/{page}.html")
    assert browser.evaluate("document.documentElement.scrollWidth") == 390
    assert _complaints(browser) == []
    assert [url for url in browser.requests if not url.startswith((address, "data:"))] == []


@in_browser
def test_search_finds_a_name(browser, address):
    browser.open(f"{address}/search.html?q=lyapunov_spectrum")
    browser.wait("document.querySelector('#search-results li a')")
    first = browser.evaluate("document.querySelector('#search-results li a').href")
    assert first.removeprefix(address).startswith("/api/flow.html#rnnjax.flow.lyapunov_spectrum")
    assert _complaints(browser) == []


@in_browser
def test_dark_mode_toggles(browser, address):
    browser.open(f"{address}/index.html")
    shown = {}
    for mode in ("dark", "light"):
        browser.evaluate(
            f"document.querySelector('.theme-change-button[data-mode={mode}]').click()"
        )
        assert browser.evaluate("document.documentElement.dataset.theme") == mode
        shown[mode] = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert shown["dark"] != shown["light"]
    assert _complaints(browser) == []


@in_browser
def test_the_illustrated_pass_steps_in_its_frame(browser, address):
    browser.open(f"{address}/illustrated.html")
    frame = "document.querySelector('iframe.illustrated').contentDocument"
    browser.wait(f"{frame} && {frame}.getElementById('next')")
    where = f"{frame}.getElementById('where').textContent"
    before = browser.evaluate(where)
    browser.evaluate(f"{frame}.getElementById('next').click()")
    browser.wait(f"{where} !== {before!r}")
    browser.evaluate("document.querySelector('nav.illustrated a:nth-child(2)').click()")
    browser.wait(f"{frame}.title.includes('GRU') && {frame}.getElementById('next')")
    for mode in ("dark", "light"):
        browser.evaluate(
            f"document.querySelector('.theme-change-button[data-mode={mode}]').click()"
        )
        browser.wait(f"{frame}.documentElement.dataset.theme === '{mode}'")
    assert _complaints(browser) == []
