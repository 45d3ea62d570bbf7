"""`sigrl-train import`: an open_clip model as a bundle, downloaded from a hub that runs in this process."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants as hub_constants
import numpy as np
import pytest
import torch
from open_clip import CLIP, create_model, factory, get_tokenizer, image_transform, pretrained
from PIL import Image
from safetensors.torch import save_file

from sigrl import Tagger
from sigrl.model.bundle import load_bundle
from sigrl.model.preprocess import preprocess
from sigrl.model.reference_names import HEAD_NAMES
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.backbones import open_clip_source

CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "patch_size": 16, "width": 32, "head_width": 16, "layers": 1},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
}
NAMES = ("dog", "red car", "a very long thing with many words")
HUB_FILE = "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def clip() -> CLIP:
    """A tiny CLIP with QuickGELU and random weights that float16 represents exactly. Do not change it."""
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        patch.setitem(factory._MODEL_CONFIGS, "tiny", CONFIG)
        made = create_model("tiny", force_quick_gelu=True)
        for tensor in made.state_dict().values():
            tensor.copy_((tensor * 3).half())
        made.logit_scale.fill_(np.log(100))
    return made.eval()


@pytest.fixture(scope="module")
def weights(clip: CLIP, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    save_file(clip.state_dict(), file)
    return file


@pytest.fixture
def asked(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A server in place of the hub and of older addresses; returns the paths that were requested."""
    content = weights.read_bytes()
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self, body: bytes) -> None:
            paths.append(self.path)
            held = self.path in (f"/someone/tiny/resolve/main/{HUB_FILE}", "/old/tiny.safetensors")
            self.send_response(200 if held else 404)
            self.send_header("Content-Length", str(len(content) if held else 0))
            self.send_header("ETag", '"1234"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.end_headers()
            self.wfile.write(body if held else b"")

        def do_GET(self) -> None:
            self.answer(content)

        def do_HEAD(self) -> None:
            self.answer(b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(hub_constants, "ENDPOINT", address)
    monkeypatch.setattr(
        hub_constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path))
    register(monkeypatch, address)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield paths
    server.shutdown()
    server.server_close()


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network: neither the hub nor older addresses answer, and nothing is cached."""
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path))
    register(monkeypatch, "http://127.0.0.1:9")


def register(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Registers the architecture `tiny` and weights for it with open_clip."""
    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny", CONFIG)
    old = pretrained._pcfg(url=f"{address}/old/tiny.safetensors", quick_gelu=True)
    of_hub = {"hf_hub": "someone/tiny/", "quick_gelu": True}
    tags = {
        "first": pretrained._pcfg(**of_hub),
        "second_b4k": pretrained._apcfg(**of_hub),
        "old": old,
        "slow": pretrained._pcfg(hf_hub="someone/tiny/", resize_mode="longest"),
    }
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny", tags)


@pytest.fixture
def photograph() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def run(sigrl_train, *arguments: object) -> str:
    status, out, err = sigrl_train("import", *arguments)
    assert status == 0, err
    return out


def refused(sigrl_train, tmp_path: Path, *arguments: object) -> str:
    status, _, err = sigrl_train("import", *arguments, "-o", tmp_path / "refused")
    assert status == 2
    assert len(err.splitlines()) == 1, err
    assert err.startswith("sigrl-train: ")
    assert not (tmp_path / "refused").exists()
    return err


@torch.no_grad()
def cosines(clip: CLIP, pixels: np.ndarray) -> np.ndarray:
    """The output of open_clip's own model for `NAMES`."""
    texts = get_tokenizer("ViT-B-32")([f"a photo of a {name}." for name in NAMES])
    images = clip.encode_image(torch.from_numpy(pixels), normalize=True)
    return (images @ clip.encode_text(texts, normalize=True).T).numpy()


def logits(bundle: Path, pixels: np.ndarray) -> np.ndarray:
    engine = TorchEngine.load(bundle, "cpu", precision="float32")
    return engine.score(engine.encode_images(pixels), engine.encode_labels(Vocabulary.from_names(NAMES)))


def test_imported_tag_scores_like_open_clip(
    sigrl_train, asked: list[str], clip: CLIP, photograph: Image.Image, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    assert "wrote" in run(sigrl_train, "--open-clip", "tiny/first", "-o", bundle)
    assert f"/someone/tiny/resolve/main/{HUB_FILE}" in asked
    manifest = load_bundle(bundle).manifest
    assert (manifest.head.kind, manifest.head.form) == ("clip", "context")
    assert manifest.backbone.quick_gelu
    assert manifest.backbone.prompts == ("a photo of a {label}.",)
    theirs = image_transform(64, is_train=False)(photograph).numpy()
    pixels = preprocess(photograph, manifest.preprocessing)
    np.testing.assert_allclose(pixels, theirs, atol=0.02)
    expected = 100 * (cosines(clip, pixels[None]) - 0.25)
    np.testing.assert_allclose(logits(bundle, pixels[None]), expected, atol=2e-3)


def test_manifest_records_the_origin_of_the_weights(
    sigrl_train, asked: list[str], weights: Path, tmp_path: Path
) -> None:
    run(sigrl_train, "--open-clip", "tiny/first", "-o", tmp_path / "bundle")
    provenance = load_bundle(tmp_path / "bundle").manifest.provenance
    url = f"https://huggingface.co/someone/tiny/resolve/main/{HUB_FILE}"
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert provenance["weights"] == [{"file": HUB_FILE, "url": url, "sha256": sha256}]
    assert provenance["commands"] == ["sigrl-train import --open-clip tiny/first --head clip"]
    assert "https://huggingface.co/someone/tiny" in provenance["licence"]
    assert provenance["commit"]
    assert "none" in provenance["calibration"]
    assert str(tmp_path) not in json.dumps(provenance)
    assert asked


@pytest.mark.usefixtures("asked")
def test_imported_bundle_can_tag_directly(sigrl_train, photograph: Image.Image, tmp_path: Path) -> None:
    run(sigrl_train, "--open-clip", "tiny/first", "-o", tmp_path / "bundle")
    tags = Tagger(tmp_path / "bundle").tag(photograph, ["dog", "cat"], top_k=2).tags
    assert {tag.label for tag in tags} == {"dog", "cat"}


@pytest.mark.usefixtures("asked")
def test_mkt_head_also_matches_patches(
    sigrl_train, clip: CLIP, photograph: Image.Image, tmp_path: Path
) -> None:
    run(sigrl_train, "--open-clip", "tiny/first", "--head", "mkt", "-o", tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    pixels = preprocess(photograph, bundle.manifest.preprocessing)[None]
    labels = bundle.model.backbone.encode_labels(Vocabulary.from_names(NAMES).labels)
    features = bundle.model.backbone.encode_images(torch.from_numpy(pixels))
    head = bundle.model.head
    # The tower has no more than 16 patches, so the best 16 are all of them.
    local = head.local_scores(features, head.label_features(labels)).mean(dim=1).numpy()
    expected = 50 * (cosines(clip, pixels) + local) - 25
    np.testing.assert_allclose(logits(tmp_path / "bundle", pixels), expected, atol=2e-3)


@pytest.mark.usefixtures("asked")
def test_preprocessing_is_taken_from_the_tag(sigrl_train, tmp_path: Path) -> None:
    run(sigrl_train, "--open-clip", "tiny/second-b4k", "-o", tmp_path / "bundle")
    preprocessing = load_bundle(tmp_path / "bundle").manifest.preprocessing
    assert (preprocessing.resize, preprocessing.interpolation) == ("squash", "bilinear")
    assert preprocessing.mean == (0.485, 0.456, 0.406)
    assert preprocessing.image_size == 64


def test_weights_outside_the_hub_are_downloaded(sigrl_train, asked: list[str], tmp_path: Path) -> None:
    run(sigrl_train, "--open-clip", "tiny/old", "-o", tmp_path / "bundle")
    assert asked == ["/old/tiny.safetensors"]
    (entry,) = load_bundle(tmp_path / "bundle").manifest.provenance["weights"]
    assert entry["url"].endswith("/old/tiny.safetensors")


@pytest.mark.usefixtures("offline")
def test_a_file_named_after_a_tag_is_read_as_that_tag(sigrl_train, weights: Path, tmp_path: Path) -> None:
    named = tmp_path / "second-b4k.safetensors"
    named.write_bytes(weights.read_bytes())
    out = run(sigrl_train, "--open-clip", f"tiny/{named}", "-o", tmp_path / "bundle")
    assert "not named after" not in out
    manifest = load_bundle(tmp_path / "bundle").manifest
    assert manifest.backbone.quick_gelu
    assert manifest.preprocessing.resize == "squash"
    assert manifest.provenance["weights"][0]["url"] is None


@pytest.mark.usefixtures("offline")
def test_file_with_other_name_uses_architecture_defaults_and_warns(
    sigrl_train, weights: Path, tmp_path: Path
) -> None:
    out = run(sigrl_train, "--open-clip", f"tiny/{weights}", "-o", tmp_path / "bundle")
    assert "tiny/mine.safetensors is not named after" in out
    assert "GELU and CLIP's" in " ".join(out.split())
    manifest = load_bundle(tmp_path / "bundle").manifest
    assert manifest.name == "tiny/mine.safetensors"
    assert not manifest.backbone.quick_gelu
    assert manifest.preprocessing.resize == "crop"


@pytest.mark.usefixtures("offline")
def test_training_checkpoint_of_plain_tensors_is_accepted(
    sigrl_train, clip: CLIP, weights: Path, tmp_path: Path
) -> None:
    tensors = {f"module.{name}": tensor for name, tensor in clip.state_dict().items()}
    file = tmp_path / "first.pt"
    torch.save({"epoch": 3, "state_dict": tensors}, file)
    run(sigrl_train, "--open-clip", f"tiny/{file}", "-o", tmp_path / "from_pt")
    same = tmp_path / "first.safetensors"
    same.write_bytes(weights.read_bytes())
    run(sigrl_train, "--open-clip", f"tiny/{same}", "-o", tmp_path / "from_safetensors")
    files = [load_bundle(tmp_path / name).manifest.files for name in ("from_pt", "from_safetensors")]
    assert files[0] == files[1]


@pytest.mark.usefixtures("offline")
def test_offline_error_names_the_weights_to_download(sigrl_train, tmp_path: Path) -> None:
    error = refused(sigrl_train, tmp_path, "--open-clip", "tiny/first")
    assert f"download {HUB_FILE} (or open_clip_pytorch_model.bin) from" in error
    assert "https://huggingface.co/someone/tiny" in error
    assert "--open-clip tiny/PATH/first.safetensors" in error
    error = refused(sigrl_train, tmp_path, "--open-clip", "tiny/old")
    assert "Connection refused" in error
    assert "/old/tiny.safetensors" in error
    assert "--open-clip tiny/PATH/old.safetensors" in error


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("tiny/slow", "resizes photographs by 'longest'"),
        ("ViT-B/16", "no architecture 'ViT-B': write ARCHITECTURE/TAG, for instance ViT-B-"),
        ("ViT-B-16/opena", "neither a file nor weights of ViT-B-16 that open_clip knows (openai, "),
        ("ViT-B-16", "write ARCHITECTURE/TAG or ARCHITECTURE/FILE"),
    ],
)
@pytest.mark.usefixtures("offline")
def test_unsupported_models_are_rejected_before_downloading(
    sigrl_train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    monkeypatch.setattr(open_clip_source, "download_pretrained", None)
    assert reason in refused(sigrl_train, tmp_path, "--open-clip", name)


@pytest.mark.usefixtures("offline")
def test_offline_error_names_the_tokenizer_files_to_download(
    sigrl_train, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_clip_source, "download_pretrained", lambda _: weights)
    error = refused(sigrl_train, tmp_path, "--open-clip", "ViT-B-16-SigLIP2-256/webli")
    assert "download tokenizer.json and tokenizer_config.json from" in error
    assert "https://huggingface.co/timm/ViT-B-16-SigLIP2-256 elsewhere" in error
    assert "put them beside the weights" in error
    named = tmp_path / "webli.safetensors"
    named.write_bytes(weights.read_bytes())
    error = refused(sigrl_train, tmp_path, "--open-clip", f"ViT-B-16-SigLIP2-256/{named}")
    assert "tokenizer_config.json cannot be read" in error


@pytest.mark.usefixtures("offline")
def test_unsupported_text_encoder_is_reported(sigrl_train, weights: Path, tmp_path: Path) -> None:
    error = refused(sigrl_train, tmp_path, "--open-clip", f"mt5-base-ViT-B-32/{weights}")
    assert "encodes texts with google/mt5-base, which bundles do not support" in error


@pytest.mark.usefixtures("offline")
def test_invalid_usage_is_rejected(sigrl_train, tmp_path: Path) -> None:
    assert "name what to import" in refused(sigrl_train, tmp_path)
    error = refused(sigrl_train, tmp_path, "--published", "mkt", "x.pth", "--head", "clip")
    assert "omit --head" in error
    status, _, err = sigrl_train("import", "--open-clip", "tiny/first", "-o", tmp_path)
    assert status == 2
    assert "name a new directory" in err


@pytest.mark.usefixtures("offline")
def test_weights_of_another_model_are_rejected(sigrl_train, clip: CLIP, tmp_path: Path) -> None:
    def error(changes: dict[str, torch.Tensor], lacking: str = "") -> str:
        tensors = {name: one for name, one in clip.state_dict().items() if name != lacking} | changes
        save_file(tensors, tmp_path / "first.safetensors")
        return refused(sigrl_train, tmp_path, "--open-clip", f"tiny/{tmp_path / 'first.safetensors'}")

    assert "not those of tiny: of their tensors, 1 are of another shape (`backbone.visual.proj`)" in error(
        {"visual.proj": torch.zeros(3, 32)}
    )
    assert "1 are missing (`backbone.visual.proj`)" in error({}, lacking="visual.proj")
    assert "1 are unknown (`backbone.extra`)" in error({"extra": torch.zeros(1)})
    assert "not a whole CLIP" in error({}, lacking="logit_scale")
    assert "not finite" in error({"visual.proj": torch.full((32, 32), torch.nan)})
    apple = {"image_encoder.model.patch_embed.0.rbr_conv.0.conv.weight": torch.zeros(1)}
    assert "Apple's and do not fit tiny" in error(apple)


class Trap:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.usefixtures("offline")
def test_checkpoints_that_could_run_code_are_rejected(sigrl_train, clip: CLIP, tmp_path: Path) -> None:
    file, touched = tmp_path / "first.pt", tmp_path / "touched"
    torch.save({"state_dict": clip.state_dict(), "args": Trap(touched)}, file)
    for arguments in (("--open-clip", f"tiny/{file}"), ("--published", "mkt", file)):
        error = refused(sigrl_train, tmp_path, *arguments)
        assert "contains more than tensors (" in error
        assert "save its state dict alone" in error
    assert not touched.exists()
    torch.jit.script(torch.nn.Linear(1, 1)).save(file)
    assert "TorchScript" in refused(sigrl_train, tmp_path, "--open-clip", f"tiny/{file}")
    for content in (b"", b"<html>not found</html>", b"PK\x03\x04 and no more"):
        for name in ("first.pt", "first.safetensors"):
            (tmp_path / name).write_bytes(content)
            error = refused(sigrl_train, tmp_path, "--open-clip", f"tiny/{tmp_path / name}")
            assert "contains no readable weights" in error
    torch.save([torch.zeros(1)], file)
    assert "is not a state dict" in refused(sigrl_train, tmp_path, "--open-clip", f"tiny/{file}")


def published(clip: CLIP) -> dict[str, torch.Tensor]:
    """The image tower with the names of MKT's checkpoints."""
    tower = {
        name.removeprefix("visual."): one for name, one in clip.state_dict().items() if "visual." in name
    }
    return {"projection_dist" if name == "proj" else name: one for name, one in tower.items()}


@pytest.mark.usefixtures("offline")
def test_a_published_checkpoint_takes_its_text_tower_from_clip(
    sigrl_train, clip: CLIP, weights: Path, tmp_path: Path
) -> None:
    file = tmp_path / "published.pth"
    torch.save(published(clip), file)
    arguments = ("--published", "mkt", file, "--open-clip", f"tiny/{weights}")
    out = run(sigrl_train, *arguments, "-o", tmp_path / "bundle")
    assert "not named after" not in out
    bundle = load_bundle(tmp_path / "bundle")
    assert (bundle.manifest.head.kind, bundle.manifest.head.form) == ("mkt", "published")
    assert bundle.manifest.backbone.prompts == ("There is a {label} in the scene",)
    assert bundle.manifest.backbone.quick_gelu
    assert bundle.manifest.preprocessing.mean == (0.485, 0.456, 0.406)
    size = bundle.manifest.preprocessing.image_size
    assert bundle.manifest.preprocessing.short_side == size * 256 // 224
    assert [entry["file"] for entry in bundle.manifest.provenance["weights"]] == [file.name, weights.name]
    assert bundle.manifest.provenance["commands"] == [
        "sigrl-train import --published mkt published.pth --open-clip tiny/mine.safetensors"
    ]
    texts = get_tokenizer("ViT-B-32")(["There is a dog in the scene"])
    labels = bundle.model.backbone.encode_labels(Vocabulary.from_names(["dog"]).labels)
    with torch.no_grad():
        torch.testing.assert_close(labels, clip.encode_text(texts), atol=1e-5, rtol=1e-4)


@pytest.mark.usefixtures("offline")
def test_published_checkpoint_of_another_kind_is_rejected(sigrl_train, clip: CLIP, tmp_path: Path) -> None:
    file = tmp_path / "published.pth"
    torch.save(published(clip), file)
    assert "--published mkt" in refused(sigrl_train, tmp_path, "--published", "sigrl", file)
    torch.save(published(clip) | {name: torch.zeros(1, 1) for name in HEAD_NAMES}, file)
    assert "--published sigrl" in refused(sigrl_train, tmp_path, "--published", "mkt", file)
    torch.save({"blocks.0.norm.weight": torch.zeros(1)}, file)
    assert "not a checkpoint of SigRL's" in refused(sigrl_train, tmp_path, "--published", "mkt", file)
    assert "No such file" in refused(sigrl_train, tmp_path, "--published", "mkt", tmp_path / "absent.pth")
