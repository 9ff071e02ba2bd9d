"""`mixkd reproduce all scale=smoke` and the report, as a user runs them."""

import csv
import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from PIL import Image
from playwright.sync_api import Browser

from mixkd.config.commands import ReportConfig
from mixkd.config.shipped import artefacts
from mixkd.report.assignment import read_results
from mixkd.report.plan import Reproduction, manifest
from mixkd.report.results import Results
from mixkd.tasks.report import report
from tests.processes import started

pytestmark = pytest.mark.integration

Mixkd = Callable[..., int]
TABLES = [name for name in artefacts() if name.startswith("table")]
FIGURES = [name for name in artefacts() if name.startswith("fig")]


# Enough to train on: what the scale has of it takes four times as long.
SHORT = ["trainer.max_epochs=2", "data.limit_train=200", "data.limit_test=100"]


@pytest.fixture(scope="module")
def smoke(run_once: Mixkd, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which everything has been reproduced at smoke scale: runs/ and reports/smoke/."""
    place = tmp_path_factory.mktemp("smoke")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert run_once("reproduce", "all", "scale=smoke", *SHORT) == 0
    return place


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def numbers_of(path: Path) -> list[str]:
    """Return the names of a table's measured columns."""
    texts = {
        "teacher", "setting", "model", "corruption", "network", "training", "group", "notes",
        "runs", "students", "method", "family", "contrast", "metric",
    }  # fmt: skip
    names = [name for name in rows_of(path)[0] if name not in texts]
    return [n for n in names if not n.endswith(("_printed", "_sd", "_scaled"))]


@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_numbers_in_three_forms(smoke: Path, name: str) -> None:
    out = smoke / "reports/smoke"
    rows = rows_of(out / f"{name}.csv")
    assert len(rows) >= 4
    printed = 0
    for row in rows:
        labels = map(row.get, ("setting", "model", "metric"))
        is_measured = "scaled" not in " ".join(filter(None, labels))
        is_baseline = name == "table7" and row["teacher"].startswith("baseline")
        for column in numbers_of(out / f"{name}.csv"):
            may_lack = "scaled_" in column or (is_baseline and column.startswith("gain"))
            if is_measured and not may_lack:
                float(row[column])  # raises where a cell is empty
        printed += sum(bool(row[c]) for c in row if c.endswith("_printed"))
        # No temperature may fit a network that has barely learned.
        assert row["runs"] or row.get("metric") == "ECE, scaled"
    if name != "table8":  # which is not the paper's
        assert printed >= len({tuple(row.values()) for row in rows}) // 4
    text = (out / f"{name}.md").read_text()
    for word in ("Scale smoke", "Protocol corrected", "handwritten digits in place of", "held-out"):
        assert word in text.splitlines()[2], word
    latex = (out / f"{name}.tex").read_text()
    assert latex.count(r" \\") == len(rows) + 1
    assert r"\begin{tabular}" in latex


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_and_has_its_numbers(smoke: Path, name: str) -> None:
    out = smoke / "reports/smoke"
    with Image.open(out / f"{name}.png") as image:
        assert min(image.size) > 300
        assert len(set(image.convert("L").resize((64, 64)).getdata())) > 5
    assert ElementTree.parse(out / f"{name}.svg").getroot().tag.endswith("svg")
    columns = numbers_of(out / f"{name}-numbers.csv")
    assert columns
    for row in rows_of(out / f"{name}-numbers.csv"):
        for column in columns:
            float(row[column])


def test_runs_of_two_artefacts_are_made_once(smoke: Path) -> None:
    reproduction = Reproduction.read(manifest(smoke / "runs", "smoke"))
    assert set(reproduction.artefacts) == set(artefacts())
    paths = [expected.path for expected in reproduction.expected]
    made = {str(p.parent.relative_to(smoke / "runs")) for p in smoke.rglob("runs/**/status.json")}
    assert made == set(paths)
    assert len(paths) > len(made)  # digits stand for two data sets
    best = [e for e in reproduction.expected if e.subject[2:] == ("vit_b16", "kd_mixup", "2")]
    assert {"table1", "table3", "fig9"} <= set(best[0].artefacts) | set(best[1].artefacts)


def test_a_second_go_does_nothing(
    smoke: Path, mixkd: Mixkd, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(smoke)
    before = {path: path.stat().st_mtime_ns for path in (smoke / "runs").rglob("metrics.json")}
    page = (smoke / "reports/smoke/index.html").read_text()
    assert mixkd("reproduce", "all", "scale=smoke", *SHORT) == 0
    assert capsys.readouterr().err.count(", 0 to do") == 3
    assert {p: p.stat().st_mtime_ns for p in (smoke / "runs").rglob("metrics.json")} == before
    assert (smoke / "reports/smoke/index.html").read_text() == page
    assert mixkd("reproduce", "fig3", "plan=true", *SHORT) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["together", "12", "0", "0.00", "0.00"] in lines


def copied(smoke: Path) -> tuple[Path, Results]:
    """Return a copy of the runs in the test's own folder, and what is in it."""
    shutil.copytree(smoke / "runs", "elsewhere", ignore=shutil.ignore_patterns("*.ckpt"))
    root = Path("elsewhere")
    return root, read_results(root, Reproduction.read(manifest(root, "smoke")))


def test_what_is_planted_is_told_where_it_shows(smoke: Path) -> None:
    root, results = copied(smoke)
    students = {
        (s.teacher, s.temperature, seed): root / run.path
        for (s, seed, kind), run in results.slots.items()
        if s[:2] == ("cifar100", "student") and s.method == "kd_mixup" and kind == "training"
    }
    # An ECE that cannot be; a run that is gone; one of other data; one of another seed's images.
    impossible = students["vit_b16", "4", 0] / "metrics.json"
    metrics = json.loads(impossible.read_text())
    impossible.write_text(json.dumps(metrics | {"test/ece": 0.999}))
    for seed in (0, 1):
        shutil.rmtree(students["resnet152v2", "6", seed])
    other = students["convnext_large", "8", 1] / "config.yaml"
    config = yaml.safe_load(other.read_text())
    config["data"]["name"] = "cifar10"
    other.write_text(yaml.safe_dump(config))
    (students["convnext_tiny", "10", 0] / "metrics.json").write_text("{")
    report(ReportConfig.parse([f"runs={root}", "out=out"]))
    rows = {
        (row["teacher"].split()[0], row["setting"]): row
        for row in rows_of(Path("out/table1.csv"))
        if row["teacher"]
    }
    notes = {key: row["notes"] for key, row in rows.items()}
    assert "ece 0.9990 is impossible beside accuracy" in notes["ViT-B/16", "T = 4"]
    assert notes["ResNet152V2", "T = 6"] == "missing"
    assert not rows["ResNet152V2", "T = 6"]["accuracy"]
    large = notes["ConvNeXt-L", "T = 8"]
    assert "one seed" in large
    assert "is of other data, cifar10; takes digits" in large
    assert rows["ConvNeXt-L", "T = 8"]["seeds"] == "1.0"
    tiny = notes["ConvNeXt-T", "T = 10"]
    assert "missing: seed 0; one seed" in tiny
    assert "metrics.json is damaged" in tiny
    assert notes["ViT-B/16", "T = 2"] == ""
    page = Path("out/index.html").read_text()
    assert page.count("is impossible beside accuracy") >= 2
    assert "missing: cifar100 student kd_mixup from resnet152v2 T = 6, seed 0, training" in page
    assert "mixkd distill" in page
    assert [r for r in rows_of(Path("out/bounds.csv")) if r["where"].startswith("measured")]
    claims = {row["id"]: row for row in rows_of(Path("out/claims.csv"))}
    assert claims["t2_best_acc"]["measured_verdict"] in ("not measured", "refuted")
    assert claims["t2_best_acc"]["printed_verdict"] == "supported"
    paired = [r for r in rows_of(Path("out/table1-paired.csv")) if "T = 6" in r["second"]]
    assert [r["notes"] for r in paired if "ResNet152V2" in r["first"]] == ["no predictions of both"]


def test_runs_without_a_plan_are_reported_too(smoke: Path) -> None:
    root, _ = copied(smoke)
    manifest(root, "smoke").unlink()
    text = report(ReportConfig.parse([f"runs={root}", "out=out"]))
    assert "out/index.html: networks, bounds" in text  # digits are none of the paper's data sets
    names = {row["network"] for row in rows_of(Path("out/networks.csv"))}
    assert "digits teacher erm resnet32" in names
    assert "digits student kd_mixup from resnet32 T = 2" in names
    assert "digits student kd_mixup from resnet32+mixup T = 2" in names


def test_a_changed_setting_reruns_what_depends_on_it(
    smoke: Path, mixkd: Mixkd, capsys: pytest.CaptureFixture[str]
) -> None:
    root, _ = copied(smoke)
    before = set(root.rglob("status.json"))
    arguments = ["fig3", f"runs={root}", "out=out", *SHORT, "distill.trainer.max_epochs=1"]
    assert mixkd("reproduce", *arguments) == 0
    errors = capsys.readouterr().err
    assert "stage 1: 4 runs, 0 to do" in errors
    assert "stage 2: 8 runs, 8 to do" in errors
    made = [path.parent for path in set(root.rglob("status.json")) - before]
    assert len(made) == 8
    assert all("/distill/" in str(path) for path in made)
    # The report is of this setting alone, and says so.
    overrides = f"Overrides: {' '.join(SHORT)} distill.trainer.max_epochs=1"
    assert Path("out/fig3-numbers.md").read_text().count(overrides)
    assert not Path("out/table6.md").exists()
    assert [row["notes"] for row in rows_of(Path("out/fig3-numbers.csv"))][:2] == ["one seed", ""]


def test_an_interrupted_reproduction_goes_on_to_the_same_end(smoke: Path, mixkd: Mixkd) -> None:
    arguments = ["reproduce", "fig3", "runs=runs", "out=out", *SHORT]
    with started(*arguments) as first:
        for line in first.stderr:
            if line.startswith("[2: ") and "epoch   1/2" in line:
                first.signal(signal.SIGINT)
                break
        rest = first.stderr.read()
        assert first.wait() == 130, rest
    assert "interrupted; the same command continues it" in rest
    finished = [p for p in Path("runs").rglob("status.json") if "finished" in p.read_text()]
    assert 4 <= len(finished) < 12
    stamps = {path: path.stat().st_mtime_ns for path in finished}
    time.sleep(0.1)
    assert mixkd(*arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in finished} == stamps
    measured = sorted(Path("runs").rglob("metrics.json"))
    assert len(measured) == 12
    for path in measured:
        assert path.read_bytes() == (smoke / path).read_bytes(), path


def test_the_page_opens_in_a_browser(smoke: Path, browser: Browser) -> None:
    complaints: list[str] = []
    page = browser.new_page(viewport={"width": 360, "height": 800})
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    page.goto((smoke / "reports/smoke/index.html").as_uri())
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 360
    broken = "[...document.images].filter(image => !image.naturalWidth).length"
    assert page.evaluate(broken) == 0
    assert page.evaluate("document.images.length") == len([*FIGURES, "methods"])
    assert page.locator("table").count() >= len(artefacts())
    page.close()
    assert complaints == []
