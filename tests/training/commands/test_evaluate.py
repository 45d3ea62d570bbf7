"""`sigrl-train evaluate`: bundles of any task, measured on any data."""

import json
from pathlib import Path

import torch

from sigrl.model.bundle import load_bundle
from sigrl.model.config import HeadConfig

CONFIGS = Path(__file__).parents[3] / "training" / "configs"


def test_fit_then_evaluate_and_record(sigrl_train, config_file: Path, towers: Path, tmp_path: Path) -> None:
    run, report, recorded = (
        tmp_path / "run",
        tmp_path / "reports" / "report.json",
        tmp_path / "recorded",
    )
    common = ("--config", config_file)
    status, out, _ = sigrl_train("fit", *common, "--start", towers, "-o", run, "--seed", 3)
    assert status == 0
    assert "default threshold" in out
    fitted = run / "bundle"
    assert f"SIGRL_CHECKPOINT={fitted} sigrl serve" in out
    manifest = load_bundle(fitted).manifest
    assert manifest.head.kind == "sigrl"
    assert manifest.head.context_labels == ("person", "dog", "car", "chair", "handbag", "dining table")
    assert manifest.provenance["hidden_labels"] == ["cat", "wine glass"]
    assert manifest.provenance["commands"] == ["sigrl-train fit"]
    assert manifest.provenance["configuration"]["fit"]["seed"] == 3

    status, out, _ = sigrl_train("evaluate", fitted, *common, "--report", report, "--record", recorded)
    assert status == 0
    assert "24 photographs" in out
    measured = json.loads(report.read_text())
    assert measured["photographs"] == 24
    kept = load_bundle(recorded)
    general = measured.pop("evaluation")
    assert general["photographs"] == 24
    # Photographs and their paths are not part of a bundle.
    assert kept.manifest.provenance["metrics"] == measured
    assert kept.manifest.head == manifest.head
    for name, tensor in load_bundle(fitted).model.state_dict().items():
        torch.testing.assert_close(kept.model.state_dict()[name], tensor, atol=1e-6, rtol=1e-2)


def test_evaluate_works_with_the_images_of_any_task(
    sigrl_train, refused, towers: Path, coco_root: Path, tmp_path: Path
) -> None:
    config, report, recorded = tmp_path / "c.yaml", tmp_path / "report.json", tmp_path / "recorded"
    config.write_text(
        json.dumps(
            {
                "task": "single_positive",
                "data": {"kind": "coco", "root": str(coco_root)},
                "start": str(towers),
                "tower": {"kind": "clip", "head": {"kind": "mkt", "form": "context"}},
                "loss": {"kind": "an"},
            }
        )
    )
    arguments = ("--config", config, "--report", report, "--record", recorded)
    status, out, _ = sigrl_train("evaluate", towers, *arguments)
    assert status == 0
    assert "handbag" in out
    measured = json.loads(report.read_text())
    assert {one["label"] for one in measured["per_label"]} >= {"person", "cat"}
    kept = load_bundle(recorded).manifest.provenance["metrics"]
    assert kept["at_3"] == measured["at_3"]
    assert "worst" not in kept
    names = tmp_path / "names.txt"
    names.write_text("cat\n\n person \n")
    status, out, _ = sigrl_train("evaluate", towers, *arguments[:4], "--labels", names)
    assert status == 0
    few = {one["label"]: one for one in json.loads(report.read_text())["per_label"]}
    assert few.keys() == {"cat", "person"}
    # In the context form a label's precision does not depend on the others.
    (cat,) = (one for one in measured["per_label"] if one["label"] == "cat")
    assert few["cat"]["average_precision"] == cat["average_precision"]
    names.write_text("yak")
    error = refused("evaluate", towers, *arguments[:4], "--labels", names)
    assert "no label 'yak'" in error
    status, out, _ = sigrl_train("check", "--config", config)
    assert status == 0
    assert "train: 24 photographs, where COCO 2014 with validation has 82,081" in " ".join(out.split())


def test_plain_clip_is_evaluated_on_the_unseen_labels_of_nuswide(
    sigrl_train, nuswide_root: Path, tokenizer_definition: bytes, tmp_path: Path
) -> None:
    """The sanity step of docs/reproduce.md, on generated data in NUS-WIDE's layout."""
    from nuswide_files import PHOTOGRAPHS, UNSEEN, write_start

    head = HeadConfig(kind="clip", form="published")
    clip, config, report = tmp_path / "clip", tmp_path / "nuswide.yaml", tmp_path / "report.json"
    write_start(clip, head, tokenizer_definition)
    shipped = (CONFIGS / "open_vocabulary" / "nuswide.yaml").read_text()
    config.write_text(shipped.replace("root: ../data/NUS_WIDE", f"root: {nuswide_root}"))
    labels = nuswide_root / "Concepts81.txt"
    arguments = ("--config", config, "--labels", labels, "--report", report)
    status, out, error = sigrl_train("evaluate", clip, *arguments)
    assert status == 0, error
    assert UNSEEN[0] in out
    measured = json.loads(report.read_text())
    assert measured["photographs"] == PHOTOGRAPHS
    assert [one["label"] for one in measured["per_label"]] == list(UNSEEN)
