"""The page of a report, opened from a file in a browser."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from playwright.sync_api import Browser, Page

from mixkd.plots.style import save_figure
from mixkd.report.page import ClaimRecord, Finding, Picture, ReportSection, RunRecord, page
from mixkd.report.table import Column, Number, Table

pytestmark = pytest.mark.integration

RUNS = [
    RunRecord(
        path=f"runs/cifar100/distill/mobilenetv2-kd_mixup-from-convnext_large-T{k}-{'ab12' * 3}",
        command=f"mixkd distill data=cifar100 teacher=convnext_large temperature={k}",
        state="finished",
        dataset="cifar100",
        revision="ed175130930e929e91fa34d8cdc60534dee9bf00-dirty",
        seeds={"seed": k},
        metrics={"test/accuracy": k / 30, "test/ece": 0.1},
        fingerprints={"data": "ab12" * 16},
        config="seed: 0\n" + "a_long_line: " + "x" * 400,
    )
    for k in range(30)
]

# The network is the row's number; two differ in what is not shown, two are the same.
ECE = [9.5, None, 10.0, -3.0, 0.12344, 0.12342, math.nan, 2.0, 2.0, 1e-5]
ASCENDING = ["3", "9", "5", "4", "7", "8", "0", "2"]
DESCENDING = ["2", "0", "7", "8", "4", "5", "9", "3"]
MISSING = ["1", "6"]


@pytest.fixture
def index(tmp_path: Path) -> str:
    """Write a report's folder; give the address of its page."""
    figure = Figure(figsize=(9, 3))
    figure.subplots().plot([0, 1], [1, 0])
    save_figure(figure, tmp_path / "figure")
    small = Table(
        "small",
        "Small",
        "To be sorted.",
        [Column("network", "Network"), Column("ece", "ECE")],
        [
            {
                "network": str(k),
                "ece": None if v is None else Number(v, None, (RUNS[20 + k].path,)),
            }
            for k, v in enumerate(ECE)
        ],
    )
    columns = [
        Column(f"c{k}", f"Quantity number {k}", signed=True, printed=k == 3) for k in range(12)
    ]
    three = tuple(run.path for run in RUNS[:3])
    wide = Table(
        "wide",
        "Wide",
        "A caption that is long enough to be broken on any screen. " * 4,
        [Column("network", "Network"), *columns, Column("notes", "Notes")],
        [
            {
                "network": f"mobilenetv2 from convnext_large, seed {k}",
                "notes": "outside what the paper prints, for reasons that nobody knows yet",
                **{column.name: Number(k / 7, 0.1, three) for column in columns},
            }
            for k in range(40)
        ],
    )
    picture = Picture("figure", "Figure", "Of a line.", (tmp_path / "figure.svg").read_text())
    claim = ClaimRecord(
        "C1",
        "A claim of some length. " * 9,
        "Table 1",
        Finding("supported"),
        Finding("refuted", "1 > 0"),
    )
    html = page(
        "A report with `Long_unbroken_words_" + "x" * 60,
        "See https://example.org/" + "y" * 80,
        [
            ReportSection("first", "First", "", [small]),
            ReportSection("second", "Second", "", [wide], [picture]),
        ],
        [claim],
        RUNS,
        ["a fault in /a/path/" + "z" * 80],
    )
    (tmp_path / "index.html").write_text(html)
    return (tmp_path / "index.html").as_uri()


@pytest.fixture
def opened(browser: Browser, index: str) -> Iterator[Page]:
    """The page; at the end, nothing may have gone wrong and nothing been fetched."""
    wrong: list[str] = []
    asked: set[str] = set()
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    tab = context.new_page()
    tab.on("console", lambda message: wrong.append(message.text))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("requestfailed", lambda request: wrong.append(request.url[:80]))
    tab.on("request", lambda request: asked.add(request.url.partition("#")[0]))
    tab.goto(index)
    yield tab
    context.close()
    assert wrong == []
    assert {url for url in asked if not url.startswith("data:")} == {index}


def order(tab: Page) -> list[str]:
    return tab.locator("#first tbody th").all_inner_texts()


def test_figures_are_shown(opened: Page) -> None:
    sizes = opened.locator("img").evaluate_all("all => all.map(each => each.naturalWidth)")
    assert sizes
    assert min(sizes) > 0
    opened.emulate_media(color_scheme="dark")
    white = "each => getComputedStyle(each).backgroundColor"
    assert opened.locator("img").evaluate(white) == "rgb(255, 255, 255)"
    assert opened.locator("body").evaluate(white) != "rgb(255, 255, 255)"


def test_a_click_sorts_by_every_digit_missing_last_and_the_third_restores(opened: Page) -> None:
    head = opened.locator("#first thead th").nth(1)
    assert head.get_attribute("aria-sort") is None
    head.locator("button").click()
    assert order(opened) == ASCENDING + MISSING
    assert head.get_attribute("aria-sort") == "ascending"
    head.locator("button").click()
    assert order(opened) == DESCENDING + MISSING
    assert head.get_attribute("aria-sort") == "descending"
    head.locator("button").click()
    assert order(opened) == [str(k) for k in range(len(ECE))]
    assert head.get_attribute("aria-sort") is None


def test_the_keyboard_sorts_and_ties_stay_in_the_order_before(opened: Page) -> None:
    names, numbers = opened.locator("#first thead button").all()
    names.focus()
    opened.keyboard.press("Enter")
    opened.keyboard.press("Space")
    assert order(opened) == [str(k) for k in reversed(range(len(ECE)))]
    opened.keyboard.press("Tab")
    assert numbers.evaluate("each => each === document.activeElement")
    opened.keyboard.press("Enter")
    assert order(opened) == ["3", "9", "5", "4", "8", "7", "0", "2", "6", "1"]
    assert opened.locator("#first [aria-sort]").count() == 1


def test_a_number_leads_to_its_run(opened: Page) -> None:
    record = opened.locator(f"#{RUNS[20].anchor}")
    assert not record.evaluate("each => each.open")
    opened.locator("#first tbody a").first.click()
    assert record.evaluate("each => each.open")
    assert record.get_by_text(RUNS[20].command).is_visible()
    assert 0 <= record.evaluate("each => each.getBoundingClientRect().top") < 800
    assert opened.url.endswith(f"#{RUNS[20].anchor}")


def test_a_number_of_several_runs_lists_them(opened: Page) -> None:
    sources = opened.locator("#sources")
    number = opened.locator("#second tbody a").first
    number.click()
    links = sources.locator("a")
    assert links.all_inner_texts() == [run.path for run in RUNS[:3]]
    opened.keyboard.press("Escape")
    assert not sources.is_visible()
    number.click()
    links.nth(1).click()
    assert not sources.is_visible()
    assert opened.locator(f"#{RUNS[1].anchor}").evaluate("each => each.open")


def test_an_address_with_a_run_opens_it(opened: Page, index: str) -> None:
    opened.goto("about:blank")
    opened.goto(f"{index}#{RUNS[5].anchor}")
    assert opened.locator(f"#{RUNS[5].anchor}").evaluate("each => each.open")


def test_on_a_phone_tables_scroll_and_the_page_does_not(opened: Page) -> None:
    opened.set_viewport_size({"width": 360, "height": 800})
    opened.locator("details").evaluate_all("all => all.forEach(each => { each.open = true; })")
    width = "() => document.scrollingElement.scrollWidth"
    assert opened.evaluate(width) <= 360
    table = opened.locator("#second .wide")
    assert table.evaluate("each => each.scrollWidth > each.clientWidth")
    table.evaluate("each => { each.scrollLeft = 300; }")
    caption = opened.locator("#second caption div").bounding_box()
    assert caption is not None
    assert caption["x"] >= 0
    assert caption["x"] + caption["width"] <= 360
    opened.locator("#second tbody tr").nth(2).locator("a").nth(4).click()
    panel = opened.locator("#sources").bounding_box()
    assert panel is not None
    assert panel["x"] >= 0
    assert panel["x"] + panel["width"] <= 360
    assert opened.evaluate(width) <= 360
