"""`sigrl-train check`: what it counts, and what it reports."""

import json
from pathlib import Path

from sigrl.training.tasks.bundled.config import TrainingConfig


def test_check_counts_labels_and_reports_problems(
    sigrl_train, config: TrainingConfig, config_file: Path, coco_root: Path, tmp_path: Path
) -> None:
    status, out, _ = sigrl_train("check", "--config", config_file)
    assert status == 0
    assert "train2014: 24 photographs" in out
    assert "wine glass" in out

    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    for name in ("train2014", "val2014"):
        (root / name).symlink_to(coco_root / name)
        content = json.loads((coco_root / "annotations" / f"instances_{name}.json").read_text())
        content["images"][3]["file_name"] = "gone.jpg"
        (root / "annotations" / f"instances_{name}.json").write_text(json.dumps(content))
    path, report = tmp_path / "c.yaml", tmp_path / "report.json"
    data = config.data.model_copy(update={"root": root})
    path.write_text(config.model_copy(update={"data": data}).model_dump_json())
    status, out, _ = sigrl_train("check", "--config", path, "--report", report)
    assert status == 1
    assert f"{root / 'val2014' / 'gone.jpg'} is not there" in out
    assert json.loads(report.read_text())["train2014"]["problems"][0]["kind"] == "missing file"
