"""docs/operations.md says what the code says. `python tests/docs/test_operations_page.py` writes its
tables anew."""

import re
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client import Counter
from prometheus_client.metrics import MetricWrapperBase
from pydantic_core import PydanticUndefined

from sigrl.service.observability import metrics
from sigrl.service.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


def metrics_table() -> str:
    rows = []
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            labels = ", ".join(f"`{name}`" for name in metric._labelnames)
            suffix = "_total" if isinstance(metric, Counter) else ""
            rows.append(f"| `{metric._name}{suffix}` | {metric._type} | {labels} | {metric._documentation} |")
    return "\n".join(["| metric | type | labels | |", "|---|---|---|---|", *rows])


def settings_table() -> str:
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, PydanticUndefined) else f"`{str(field.default).lower()}`"
        others = [
            each for each in get_args(field.annotation) if isinstance(each, str) and each != field.default
        ]
        default = ", ".join([default, *(f"`{each}`" for each in others)])
        meaning = " ".join((field.description or "").split()).replace("|", "\\|")
        rows.append(f"| `SIGRL_{name.upper()}` | {default} | {meaning} |")
    return "\n".join(["| variable | default, or else | |", "|---|---|---|", *rows])


TABLES = {"metrics": metrics_table, "settings": settings_table}


def _block(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name} -->\n)(.*?)(<!-- end -->)", re.DOTALL)


@pytest.mark.parametrize("name", TABLES)
def test_operations_tables_match_the_code(name: str) -> None:
    found = _block(name).search(PAGE.read_text(encoding="utf-8"))
    assert found
    assert found[2].strip() == TABLES[name](), "python tests/docs/test_operations_page.py"


def test_documented_metrics_and_settings_exist() -> None:
    text = PAGE.read_text(encoding="utf-8")
    known = {row.split("`")[1] for row in metrics_table().splitlines()[2:]}
    assert set(re.findall(r"`(sigrl_[a-z_]*[a-z])(?:`|\{)", text)) <= known
    variables = {f"SIGRL_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"SIGRL_[A-Z_]*[A-Z]", text)) <= variables


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        text = _block(name).sub(lambda found, table=table: f"{found[1]}{table()}\n{found[3]}", text)  # type: ignore[misc]
    PAGE.write_text(text, encoding="utf-8")
