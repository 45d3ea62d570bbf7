"""`sigrl-train init`, and the commands that it names, on photographs of one's own."""

from pathlib import Path

from sigrl.model.bundle import load_bundle


def test_init_fit_and_evaluate_work_on_own_images(
    sigrl_train, refused, towers: Path, coco_root: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("sigrl.training.tasks.photographs.bundle.NAMES", 24)
    labels, config, run = tmp_path / "labels.csv", tmp_path / "mine.yaml", tmp_path / "run"
    names = sorted(path.name for path in (coco_root / "train2014").iterdir())
    rows = [f"{name},{'dog' if number % 2 else 'sky'}" for number, name in enumerate(names)]
    labels.write_text("\n".join(["image,positive", *rows]))

    status, out, _ = sigrl_train("init", coco_root / "train2014", labels, "-o", config)
    assert status == 0
    assert f"sigrl-train fit --config {config}" in out
    assert "already exists" in refused("init", coco_root, "-o", config)
    config.write_text(config.read_text().replace("\nloop:", "\nloop:\n  workers: 0"))
    status, _, err = sigrl_train("check", "--config", config)
    assert status == 0, err
    status, out, _ = sigrl_train("fit", "--config", config, "--start", towers, "-o", run, "--dry-run")
    assert status == 0
    assert "photographs: " in out
    assert not run.exists()
    status, out, _ = sigrl_train("fit", "--config", config, "--start", towers, "-o", run)
    assert status == 0
    assert f"SIGRL_CHECKPOINT={run / 'bundle'} SIGRL_VOCABULARY={run / 'vocabulary.json'}" in out
    assert (run / "report.html").is_file()
    assert load_bundle(run / "bundle").manifest.provenance["labels"]
