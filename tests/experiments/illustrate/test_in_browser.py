"""The illustrated page in a real browser: every step advances, and shows the right numbers."""

import json
import re

import pytest
from devtools import CHROMIUM, Browser
from op_by_op import op_by_op

import rnnjax
from rnnjax.experiments.illustrate import illustrate
from rnnjax.experiments.illustrate._shown import printed

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")

WALK = """(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const seen = [];
  for (;;) {
    seen.push({
      line: document.querySelector("ol > .current").id,
      lit: all("#cell .now, #cell .back").length,
      code: all(".source.current").map(e => Number(e.dataset.n)),
      slots: all("#now [data-v], #cell [data-v], #unfolded [data-v]")
        .map(e => [e.dataset.v, e.dataset.r, e.dataset.c, e.dataset.t, e.textContent]),
    });
    if (document.getElementById("next").disabled) return seen;
    document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true}));
  }
})()"""


@pytest.fixture(scope="module")
def page():
    with op_by_op():
        return illustrate(rnnjax.lstm(3))


@pytest.fixture(scope="module")
def address(page, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "lstm.html"
    path.write_text(page, "utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser(address, tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    browser.open(address)
    yield browser
    browser.close()


def test_every_step_shows_its_numbers_and_nothing_complains(browser, page, address):
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    phases = [line["phase"] for line in data["lines"]]
    of = {phase: [n for n, p in enumerate(phases) if p == phase] for phase in set(phases)}
    order = [(t, n) for t in range(4) for n in of["forward"]]
    order += [(t, n) for t in (3, 2, 1, 0) for n in of["backward"]]
    order += [(0, n) for n in of["sums"]]
    seen = browser.evaluate(WALK)
    for (t, n), shown in zip(order, seen, strict=True):
        assert (shown["line"], shown["code"]) == (f"line-{n}", data["lines"][n]["code"])
        assert shown["lit"] > 0
        for key, row, column, step, text in shown["slots"]:
            now = data["steps"][t if step is None else int(step)]
            values = next(v[key] for v in (now, data["weights"], data["sums"]) if key in v)
            want = values[0 if row == "u" else int(row)][0 if column == "u" else int(column)]
            assert text.strip("()") == printed(want), (key, t, n)
    assert browser.messages == []
    assert set(browser.requests) == {address}


def test_controls_and_layout(browser, address):
    browser.open("about:blank")
    browser.open(address)
    said = 'document.getElementById("said").textContent'
    at = 'document.getElementById("where").textContent'
    for code, want in (
        ("document.querySelector('[data-phase=backward]').click()", "Backward, step 1 of 4"),
        ("const t = document.getElementById('time'); t.value = 3;"
         "t.dispatchEvent(new Event('input'))", "Backward, step 3 of 4"),
        ("document.querySelector('#line-8 button').click()", "Forward, step 3 of 4, equation 9"),
        ("location.hash = '#backward-2-4-3'", "Backward, step 2 of 4, equation 4"),
    ):  # fmt: skip
        browser.evaluate(code)
        browser.wait(f"{at}.startsWith({want!r})")
    assert "times" in browser.evaluate(said)
    assert "unit 3" in browser.evaluate(said)
    browser.press("ArrowRight", shift=True)
    assert browser.evaluate(at).startswith("Backward, step 1 of 4, equation 4")
    read = 'document.querySelector(`#cell [data-carries="g"]`).classList.contains("read")'
    assert browser.evaluate(read)  # di = dc ⊙ g
    box = """(async () => {
      const symbol = document.querySelector("#now .sym[data-s=g]");
      symbol.scrollIntoView({block: "center"});
      for (let k = 0; k < 2; k++) await new Promise(requestAnimationFrame);
      const {x, y, width, height} = symbol.getBoundingClientRect();
      return [x + width / 2, y + height / 2];
    })()"""
    x, y = browser.evaluate(box)
    browser.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    tip = 'document.getElementById("tip")'
    browser.wait(f"!{tip}.hidden")
    assert browser.evaluate(f"{tip}.textContent") == "candidate, shape [3]"
    for width in (390, 1280):
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        browser.send("Emulation.setDeviceMetricsOverride", **size)
        assert browser.evaluate("document.documentElement.scrollWidth") == width
    dark = "getComputedStyle(document.body).backgroundColor"
    before = browser.evaluate(dark)
    browser.evaluate("document.getElementById('theme').click()")
    assert browser.evaluate(dark) != before
    assert browser.messages == []
