"""Charts as parts of a page."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from sigrl.training.measures.report import Calibration, ReliabilityBin

charts = pytest.importorskip("sigrl.training.report.charts", reason="the extra `report` is not installed")


def parse(chart: str) -> ElementTree.Element:
    return ElementTree.fromstring(chart)


def test_chart_has_a_text_description() -> None:
    series = {"loss": [(1.0, 3.0), (9.0, 0.5)], "ranking": [(1.0, 2.0), (9.0, 0.25)]}
    element = parse(charts.step_chart("Loss", series))
    assert element.get("role") == "img"
    assert element.get("aria-label") == (
        "Loss: loss from 3 at step 1 to 0.5 at step 9; ranking from 2 at step 1 to 0.25 at step 9"
    )


def test_chart_uses_the_css_colours_of_the_page() -> None:
    chart = charts.epoch_chart("mAP", {"mAP": [(1.0, 3.0), (2.0, 4.0)]}, best_epoch=1)
    assert "var(--line-1)" in chart
    assert "epoch (best: 2)" in chart
    assert not set(re.findall(r"#[0-9a-f]{6}\b", chart))


def test_chart_names_are_escaped() -> None:
    name = '<script>alert(1)</script> $x_1$ & "co"'
    chart = charts.step_chart(name, {name: [(1.0, 1.0)], "loss": [(1.0, 2.0)]})
    assert "<script" not in chart
    assert any(element.text == name for element in parse(chart).iter() if element.text)


def test_charts_have_unique_element_ids() -> None:
    series = {"one": [(1.0, 1.0), (2.0, 3.0)]}
    identifiers = [
        set(re.findall(r' id="([^"]+)"', charts.epoch_chart(name, series, None))) for name in ("a", "b")
    ]
    assert all(identifiers)
    assert not identifiers[0] & identifiers[1]


def test_reliability_diagram_describes_its_bins() -> None:
    bins = [ReliabilityBin(pairs=9, probability=0.1, frequency=0.2)]
    chart = charts.reliability_chart("test", Calibration(overall=1, mean_over_labels=2, bins=bins))
    assert parse(chart).get("aria-label") == "test: of labels given 10%, 20% apply"
