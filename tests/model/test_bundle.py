"""The bundle: what is saved comes back, and anything else is refused with a sentence."""

import hashlib
import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sigrl.model.bundle import TaggingModel, load_bundle, save_bundle
from sigrl.model.bundle_files import BundleError, bundled_path
from sigrl.model.config import BackboneConfig, HeadConfig
from sigrl.model.vocabulary import Label

FILES = ["manifest.json", "model.safetensors", "tokenizer.json"]


@pytest.fixture
def copy(tiny_bundle, tmp_path) -> Path:
    """A copy of the bundle, to be harmed."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))


def change_manifest(directory: Path, **changes) -> None:
    path = directory / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def sign(directory: Path) -> None:
    """Makes the manifest's hashes right again, as an attacker would."""
    hashes = {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in FILES[1:]}
    change_manifest(directory, files=hashes)


def change_tensors(directory: Path, change) -> None:
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors")
    sign(directory)


def refuse(directory: Path, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        load_bundle(directory)


def test_loaded_bundle_matches_the_saved_model(
    tiny_bundle, tiny_description, tiny_model, tokenizer_definition
):
    bundle = load_bundle(tiny_bundle)
    assert bundle.manifest.model_dump(exclude={"files", "format_version"}) == tiny_description.model_dump()
    assert bundle.tokenizer == tokenizer_definition
    assert sorted(path.name for path in tiny_bundle.iterdir()) == FILES
    assert not bundle.model.training
    expected = tiny_model.state_dict()
    assert bundle.model.state_dict().keys() == expected.keys()
    for name, tensor in bundle.model.state_dict().items():
        largest = expected[name].abs().max().item()
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=largest / 250)


def test_sentence_encoder_is_stored_as_int8_with_similar_features(tiny_bundle, tiny_model):
    stored = load_file(tiny_bundle / "model.safetensors")
    int8 = {name for name, tensor in stored.items() if tensor.dtype == torch.int8}
    assert "backbone.text.token_embedding.weight" in int8
    assert len(int8) == 1 + 4 * 2 + 1  # the token table, four matrices a layer, the projection
    assert all(name.startswith("backbone.text.") for name in int8)
    labels = [Label(name=name) for name in ("dog", "zebra", "a red cat")]
    before = tiny_model.backbone.encode_labels(labels)
    after = load_bundle(tiny_bundle).model.backbone.encode_labels(labels)
    assert (torch.cosine_similarity(before, after) > 0.999).all()


def test_checkpoint_id_is_a_hash_of_the_manifest_content(tiny_bundle, copy):
    first = load_bundle(tiny_bundle).checkpoint_id
    assert first.startswith("sha256:")
    assert len(first) == 71
    path = copy / "manifest.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(content.items())), indent=7))
    assert load_bundle(copy).checkpoint_id == first
    change_manifest(copy, name="another")
    assert load_bundle(copy).checkpoint_id != first
    change_manifest(copy, name="tiny")
    change_tensors(copy, lambda tensors: tensors["head.bias"].add_(1))
    assert load_bundle(copy).checkpoint_id != first


def test_int8_tensors_can_be_chosen_when_saving(tmp_path, tiny_description, tiny_model, tokenizer_definition):
    directory = tmp_path / "new" / "bundle"
    bundle = save_bundle(
        directory,
        tiny_description,
        tiny_model.state_dict(),
        tokenizer_definition,
        quantize=lambda name, tensor: name.startswith("head.svfr") and len(tensor) == 32,
    )
    stored = load_file(directory / "model.safetensors")
    assert stored["head.svfr.fusion.weight"].dtype == torch.int8
    assert stored["backbone.text.projection.weight"].dtype == torch.float16
    assert load_bundle(directory).checkpoint_id == bundle.checkpoint_id


def test_saving_a_loaded_bundle_again_does_not_change_the_weights(tiny_bundle, tmp_path):
    """Measured numbers enter the manifest after the weights are known: loading and saving must not drift."""
    bundle = load_bundle(tiny_bundle)
    description = bundle.manifest.model_copy(update={"provenance": {"mAP": 61.5, "AP": float("nan")}})
    again = save_bundle(tmp_path / "again", description, bundle.model.state_dict(), bundle.tokenizer)
    assert again.manifest.provenance == {"mAP": 61.5, "AP": None}
    for name, tensor in again.model.state_dict().items():
        torch.testing.assert_close(tensor, bundle.model.state_dict()[name], rtol=1e-6, atol=0)


def test_existing_bundle_is_never_overwritten(copy, tiny_description, tiny_model, tokenizer_definition):
    parts = (tiny_model.state_dict(), tokenizer_definition)
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    save_bundle(copy, tiny_description, *parts)
    with pytest.raises(BundleError, match="name a new directory"):
        save_bundle(copy, tiny_description.model_copy(update={"name": "other"}), *parts)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]


def test_failed_save_leaves_no_files(tmp_path, tiny_description, tiny_model, tokenizer_definition):
    good = tiny_model.state_dict()
    broken = good | {"head.bias": torch.tensor(float("nan"))}
    unset = good | {"head.context_label_embeddings": torch.zeros(6, 32)}
    missing = {name: tensor for name, tensor in good.items() if name != "head.bias"}
    for state_dict, tokenizer, message in (
        (broken, tokenizer_definition, "not finite"),
        (unset, tokenizer_definition, "set_context"),
        (missing, tokenizer_definition, r"lacks 1 tensors, the first `head\.bias`"),
        (good, None, r"`files` names \['model\.safetensors'\]"),
        (good, b"{}", r"tokenizer\.json cannot be read"),
    ):
        with pytest.raises(BundleError, match=f"cannot be saved.*{message}"):
            save_bundle(tmp_path / "bundle", tiny_description, state_dict, tokenizer)
    unwritable = tiny_description.model_copy(update={"provenance": {"model": object()}})
    with pytest.raises(BundleError, match="cannot be saved"):
        save_bundle(tmp_path / "bundle", unwritable, good, tokenizer_definition)
    assert list(tmp_path.iterdir()) == []


def test_bundle_with_clip_text_tower_has_no_tokenizer_file(tmp_path, tiny_description):
    backbone = BackboneConfig(
        embed_dim=32,
        vision={"image_size": 64, "patch_size": 32, "width": 32, "head_width": 16, "layers": 1},
        text={"width": 8, "heads": 1, "layers": 1},
    )
    description = tiny_description.model_copy(update={"backbone": backbone, "head": HeadConfig(kind="clip")})
    model = TaggingModel(backbone, description.head)
    save_bundle(tmp_path / "clip", description, model.state_dict())
    bundle = load_bundle(tmp_path / "clip")
    assert bundle.tokenizer is None
    assert {path.name for path in (tmp_path / "clip").iterdir()} == {"manifest.json", "model.safetensors"}
    stored = load_file(tmp_path / "clip" / "model.safetensors")
    assert not any(tensor.dtype == torch.int8 for tensor in stored.values())


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("place", [0.0, 0.3, 0.7, 1.0])
def test_single_flipped_bit_is_detected(copy, tiny_bundle, file, place):
    content = bytearray((copy / file).read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    (copy / file).write_bytes(content)
    try:
        changed = load_bundle(copy)
    except BundleError:
        return
    # A manifest stays a manifest when a digit of its metrics changes; the id tells it from the true one.
    assert file == "manifest.json"
    assert changed.checkpoint_id != load_bundle(tiny_bundle).checkpoint_id


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("length", [0, 100])
def test_truncated_file_is_rejected(copy, file, length):
    (copy / file).write_bytes((copy / file).read_bytes()[:length])
    refuse(copy, "is damaged" if file != "manifest.json" else "not valid JSON")


@pytest.mark.parametrize("file", FILES)
def test_missing_file_is_rejected(copy, file):
    (copy / file).unlink()
    refuse(copy, "no readable manifest" if file == "manifest.json" else f"cannot read {file}")


def test_path_without_a_bundle_is_rejected(tmp_path):
    refuse(tmp_path / "absent", "sigrl-train import")
    refuse(tmp_path, "sigrl-train import")
    (tmp_path / "weights.pth").write_bytes(b"")
    refuse(tmp_path / "weights.pth", "name the directory")


@pytest.mark.parametrize("name", ["model.pth", "pytorch_model.bin", "head.PT", "x.pkl"])
def test_pickle_files_in_a_bundle_are_rejected(copy, name):
    torch.save({}, copy / name)
    refuse(copy, "pickled weights can run code")


@pytest.mark.parametrize("name", ["notes.txt", "onnx", ".hidden"])
def test_unlisted_files_are_rejected(copy, name):
    (copy / name).mkdir()
    refuse(copy, "not part of a bundle: remove it")


class Exploding:
    def __reduce__(self):
        return pytest.fail, ("a pickle was opened",)


def test_pickle_named_model_safetensors_is_not_unpickled(copy):
    (copy / "model.safetensors").write_bytes(pickle.dumps(Exploding()))
    sign(copy)
    refuse(copy, "not in the safetensors format")
    torch.save(Exploding(), copy / "model.safetensors")
    sign(copy)
    refuse(copy, "not in the safetensors format")


@pytest.mark.parametrize("version", [0, 2, "1", None, True, 1.0])
def test_unsupported_format_versions_are_rejected(copy, version):
    change_manifest(copy, format_version=version)
    refuse(copy, "format version")


@pytest.mark.parametrize("content", ["[]", "null", "7", "{", '{"format_version": NaN}', "[" * 10_000])
def test_malformed_manifests_are_rejected(copy, content):
    (copy / "manifest.json").write_text(content)
    refuse(copy, r"not valid JSON|format version None")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"default_threshold": 1.5}, "default_threshold"),
        ({"head": {"kind": "other"}}, "head: kind"),
        ({"files": {"model.safetensors": "00"}}, "files: model.safetensors"),
    ],
)
def test_manifests_with_invalid_fields_are_rejected(copy, changes, message):
    change_manifest(copy, **changes)
    refuse(copy, message)


@pytest.mark.parametrize(
    "name", ["../tiny/model.safetensors", "/etc/passwd", "..\\x", "sub/model.safetensors", "model.pth"]
)
def test_file_names_outside_the_bundle_directory_are_rejected(copy, name):
    files = json.loads((copy / "manifest.json").read_text())["files"]
    change_manifest(copy, files=files | {name: "0" * 64})
    refuse(copy, "`files` names")


def test_missing_extra_or_misshapen_tensors_are_rejected(copy):
    stored = load_file(copy / "model.safetensors")
    change_tensors(copy, lambda tensors: tensors.update(extra=torch.ones(1)))
    refuse(copy, "contains 1 tensors that are not the model's, the first `extra`")
    cases = [
        ("head.bias", None, "lacks 1 tensors"),
        ("backbone.text.projection.weight.scale", None, "expected torch.float32"),
        ("backbone.text.projection.weight.scale", torch.ones(3), "each row"),
        ("backbone.text.projection.weight.scale", torch.full((32,), float("nan")), "not finite"),
        ("head.bias", torch.ones(2), r"\[2\], expected torch.float32 \[\]"),
        ("head.bias", torch.tensor(1), "torch.int64"),
        ("head.bias", torch.tensor(float("inf")), "not finite"),
        ("head.context_label_embeddings", torch.zeros(6, 32), "set_context"),
    ]
    for name, tensor, message in cases:
        changed = stored | {name: tensor}
        save_file({n: t for n, t in changed.items() if t is not None}, copy / "model.safetensors")
        sign(copy)
        refuse(copy, message)


def test_configuration_that_does_not_match_the_weights_is_rejected(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    change_manifest(copy, head=manifest["head"] | {"context_labels": ["dog"]})
    refuse(
        copy, r"`head.context_label_embeddings` is torch.float32 \[6, 32\], expected torch.float32 \[1, 32\]"
    )
    change_manifest(copy, head=manifest["head"] | {"gmc": False})
    refuse(copy, "that are not the model's")
    change_manifest(copy, head=manifest["head"] | {"context_labels": []})
    refuse(copy, "needs `context_labels`")
    change_manifest(copy, head=manifest["head"], preprocessing={"image_size": 96})
    refuse(copy, "built for 64 pixels, but the preprocessing makes 96")
    vision = {"timm_model_name": "no_such_model"}
    change_manifest(copy, backbone=manifest["backbone"] | {"vision": vision})
    refuse(copy, "the image tower cannot be built")


def test_package_installed_without_a_checkpoint_is_reported(monkeypatch, tmp_path, tiny_bundle):
    monkeypatch.setattr("sigrl.model.bundle_files.resources.files", lambda _package: tmp_path)
    with pytest.raises(BundleError, match="installed without a checkpoint"):
        bundled_path()
    shutil.copytree(tiny_bundle, tmp_path / "bundled")
    assert load_bundle(bundled_path()).manifest.name == "tiny"
