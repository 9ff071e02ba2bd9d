"""The page of a report, as HTML."""

import math
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

import pytest

from mixkd.report.page import ClaimRecord, Finding, Picture, ReportSection, RunRecord, page
from mixkd.report.table import Column, Number, Table

NASTY = """<script>alert("x")</script> & 'quoted' "twice" """.strip()
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10"><rect width="9"/></svg>'
VOID = {"meta", "link", "img", "br"}


class Elements(HTMLParser):
    """Reads a page: its elements, texts, and whether each end tag meets its start."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    def all(self, tag: str, **attrs: str) -> list[dict[str, str]]:
        expected = {name.replace("_", "-").strip("-"): value for name, value in attrs.items()}
        return [a for t, a in self.tags if t == tag and expected.items() <= a.items()]


def run(path: str, **details: object) -> RunRecord:
    return RunRecord(path, f"mixkd finetune seed=0 data.root={path}", "finished", **details)  # type: ignore


def table(*rows: dict[str, object]) -> Table:
    columns = [
        Column("network", "Network"),
        Column("paper", "Paper's ECE", printed=True),
        Column("ece", "ECE"),
        Column("notes", "Notes"),
    ]
    return Table("t", "A table", "Of one seed", columns, rows)  # type: ignore


def elements_of(*tables: Table, runs: tuple[RunRecord, ...] = ()) -> Elements:
    return Elements(page("Title", "Intro", [ReportSection("s", "S", tables=tables)], [], runs))


def nasty_page() -> str:
    path = f"runs/{NASTY}"
    cells = {"network": NASTY, "paper": 0.1, "ece": Number(0.2, None, (path,)), "notes": NASTY}
    finding = Finding(NASTY, NASTY, (path,))
    column = Column("network", NASTY)
    return page(
        NASTY,
        NASTY,
        [
            ReportSection(
                "s",
                NASTY,
                NASTY,
                [table(cells), Table(NASTY, NASTY, NASTY, [column], [{"network": NASTY}])],
                [Picture(NASTY, NASTY, NASTY, SVG, (path,))],
                [NASTY],
            )
        ],
        [ClaimRecord(NASTY, NASTY, NASTY, finding, finding)],
        [
            RunRecord(
                path, NASTY, NASTY, NASTY, NASTY, {NASTY: 0}, NASTY, NASTY,
                {NASTY: 0.5}, {NASTY: NASTY}, {NASTY: NASTY}, {NASTY: NASTY}, NASTY,
            ),
        ],
        [NASTY],
    )  # fmt: skip


def test_all_texts_are_escaped_and_none_is_lost() -> None:
    html = nasty_page()
    elements = Elements(html)
    assert len(elements.all("script")) == 1
    assert NASTY not in html
    # 1 title, 1 h1, 1 intro, 2 faults, 4 contents, and so on: wherever one stands, it is whole.
    assert sum(NASTY in text for text in elements.texts) >= 40
    assert elements.all("img", alt=NASTY)
    assert any(NASTY in a.get("title", "") for a in elements.all("a"))


@pytest.mark.parametrize("html", [nasty_page(), page("Title", "", [], [], [])])
def test_ids_are_unique_and_links_within_the_page_resolve(html: str) -> None:
    elements = Elements(html)
    ids = [attrs["id"] for _, attrs in elements.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [a["href"] for a in elements.all("a")]
    assert {href[1:] for href in links if href[0] == "#"} <= set(ids)
    assert {anchor for a in elements.all("a") for anchor in a.get("data-runs", "").split()} <= set(
        ids
    )


def test_the_page_fetches_nothing() -> None:
    elements = Elements(nasty_page())
    assert [a["href"] for a in elements.all("link")] == ["data:,"]
    assert all(a["src"].startswith("data:image/svg+xml;base64,") for a in elements.all("img"))
    assert not [t for t, a in elements.tags if t != "img" and "src" in a]
    policy = elements.all("meta", http_equiv="Content-Security-Policy")[0]["content"]
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_the_policy_lets_its_own_script_run_and_no_other() -> None:
    html = nasty_page()
    script = html.partition("<script>")[2].partition("</script>")[0]
    digest = b64encode(sha256(script.encode()).digest()).decode()
    policy = Elements(html).all("meta", http_equiv="Content-Security-Policy")[0]["content"]
    assert policy.endswith(f"script-src 'sha256-{digest}'")


def test_a_screen_reader_can_read_the_page() -> None:
    elements = Elements(nasty_page())
    assert elements.all("html", lang="en")
    levels = [tag for tag, _ in elements.tags if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == "h1"
    assert set(levels[1:]) == {"h2"}
    assert len(elements.all("caption")) == len(elements.all("table", _class="sortable")) == 4
    headers = elements.all("th", scope="col")
    assert len(headers) == len(elements.all("button", type="button")) > 10
    regions = elements.all("div", role="region")
    assert len(regions) == 4
    assert all(region["aria-label"] and region["tabindex"] == "0" for region in regions)


def test_a_number_has_every_digit_and_leads_to_its_runs() -> None:
    one, two = run("runs/one"), run("runs/two")
    elements = elements_of(
        table(
            {"network": "a", "paper": 0.1, "ece": Number(0.123456789, None, ("runs/one",))},
            {"network": "b", "ece": Number(0.25, 0.0125, ("runs/one", "runs/two"))},
        ),
        runs=(one, two),
    )
    assert elements.all("td", data_value="0.123456789")
    single = elements.all("a", title="0.123456789 (run runs/one)")
    assert [a["href"] for a in single] == [f"#{one.anchor}"]
    several = elements.all("a", title="0.25 ± 0.0125 (2 runs)")
    assert [a["data-runs"] for a in several] == [f"{one.anchor} {two.anchor}"]
    assert "0.2500 ± 0.0125" in elements.texts
    assert [a["id"] for a in elements.all("details", _class="run")] == [one.anchor, two.anchor]
    assert one.anchor == run("runs/one").anchor
    assert not elements.all("div", _class="faults")


def test_printed_numbers_notes_and_missing_values_are_marked() -> None:
    elements = elements_of(
        table(
            {"network": "a", "paper": 0.1, "ece": math.nan, "notes": "far off"},
            {"network": "b", "paper": math.inf, "notes": ""},
        )
    )
    assert len(elements.all("td", _class="number printed")) == 2
    assert len(elements.all("th", _class="number printed")) == 1
    assert elements.all("td", data_value="Infinity")
    assert len(elements.all("tr", _class="noted")) == 1
    assert len(elements.all("td", _class="number", data_missing="")) == 2
    assert len(elements.all("td", _class="text", data_missing="")) == 1


def test_a_run_without_a_record_is_a_fault() -> None:
    elements = elements_of(table({"network": "a", "ece": Number(0.5, None, ("runs/lost",))}))
    assert len(elements.all("div", _class="faults")) == 1
    assert "Numbers come from runs without a record here: runs/lost" in elements.texts
    assert not elements.all("a", title="0.5 (run runs/lost)")


def test_faults_stand_in_their_section_and_in_the_contents() -> None:
    html = page("T", "", [ReportSection("s", "S", faults=["one", "two"])], [], [], ["three"])
    elements = Elements(html)
    assert len(elements.all("div", _class="faults", role="note")) == 2
    assert elements.texts.count("2 faults") == 2
    assert elements.texts.count("1 fault") == 1


def test_files_are_linked_by_names_beside_the_page() -> None:
    section = ReportSection("s", "S", "", [table()], [Picture("a b", "A", "", SVG)])
    links = [a["href"] for a in Elements(page("T", "", [section], [], [])).all("a")]
    assert {"t.md", "t.csv", "t.tex", "a%20b.svg", "a%20b.png"} <= set(links)


def test_claims_have_badges_with_text_and_are_counted() -> None:
    claims = [
        ClaimRecord("C1", "one", "Table 1", Finding("supported"), Finding("refuted", "0.1 > 0.05")),
        ClaimRecord("C2", "two", "", Finding("supported"), Finding("mixed", "", ("runs/one",))),
        ClaimRecord("C3", "three", "", Finding("supported"), Finding("not measured")),
    ]
    elements = Elements(page("T", "", [], claims, [run("runs/one")]))
    for tone, count in (("good", 3 + 1), ("bad", 2), ("mixed", 2), ("plain", 2)):
        assert len(elements.all("span", _class=f"badge {tone}")) == count, tone
    assert {"supported 3", "refuted 1", "mixed 1", "not measured 1", "1 run"} <= set(elements.texts)
    assert elements.all("th", id="claim-C2")
    assert (
        elements.texts.count("Claims") == 3
    )  # in the contents, as a heading, where the run is used


def test_many_lines_of_a_finding_are_folded() -> None:
    finding = Finding("refuted", "\n".join(f"line {k}" for k in range(5)), ("runs/one",))
    claim = ClaimRecord("C1", "one", "", Finding("supported", "one line"), finding)
    elements = Elements(page("T", "", [], [claim], [run("runs/one")]))
    assert "2 more" in elements.texts
    assert "line 4" in elements.texts
    assert len(elements.all("details")) == 2  # the run is the other


def test_a_run_tells_how_it_was_made_and_where_it_is_used() -> None:
    record = run(
        "runs/one", seeds={"seed": 3}, revision="0123456789abcdef-dirty", metrics={"test/ece": 0.1},
        fingerprints={"data": "ab12"}, packages={"torch": "2.6"}, more={"Python": "3.11"},
        when="2026-01-02T03:04:05+00:00", config="seed: 3\n",
    )  # fmt: skip
    cells = {"network": "a", "ece": Number(0.1, None, ("runs/one",))}
    elements = elements_of(table(cells), runs=(record,))
    assert {
        record.command, "0123456789-dirty", "0123456789abcdef-dirty", "seed 3", "2026-01-02 03:04",
        "ab12", "torch 2.6", "Python", "3.11", "seed: 3\n", "test/ece", "Metrics (1)", "Used in",
    } <= set(elements.texts)  # fmt: skip
    assert len(elements.all("a", href="#s")) == 2


def test_code_and_addresses_in_prose_are_marked() -> None:
    text = "By `mixkd <x>`, see https://example.org/a?b=1&c=2.\n\nSecond."
    elements = Elements(page("T", text, [], [], []))
    assert "mixkd <x>" in elements.texts
    assert elements.all("a", href="https://example.org/a?b=1&c=2")
    assert {"Second."} <= set(elements.texts)


@pytest.mark.parametrize("names", [("a", "a"), ("runs", "b")])
def test_two_parts_of_one_name_are_refused(names: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=f"one name: {names[0]}"):
        page("T", "", [ReportSection(name, name) for name in names], [], [])
