"""A bundle's manifest. Imports without torch."""

import hashlib
import json
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from sigrl.model.calibration import CalibrationConfig
from sigrl.model.config import BackboneConfig, Frozen, HeadConfig, Preprocessing

FORMAT_VERSION = 1
WEIGHTS, TOKENIZER = "model.safetensors", "tokenizer.json"
ONNX_TOKENIZER = "clip_tokenizer.json"
"""CLIP's tokenizer, for an engine without open_clip, which otherwise provides it."""
CALIBRATION = "calibration.safetensors"
"""The background set; see `sigrl.model.background`."""


class Description(Frozen):
    """The manifest's content before the files are listed."""

    name: str = Field(min_length=1, max_length=200)
    """For human readers."""
    backbone: BackboneConfig
    """The towers."""
    head: HeadConfig
    """The head."""
    preprocessing: Preprocessing
    """How photographs become the image tower's input."""
    default_threshold: float = Field(ge=0.0, le=1.0)
    """The default probability from which on a label counts as present."""
    calibration: CalibrationConfig | None = None
    """How logits become probabilities; None: unchanged. It requires a background set."""
    provenance: dict[str, Any]
    """Origin and quality of the weights: data, commands, commit, licence, metrics. NaN becomes null."""

    @model_validator(mode="after")
    def _check_image_size(self) -> "Description":
        vision = self.backbone.vision
        stated = vision.get("image_size", None if "timm_model_name" in vision else 224)
        if stated is not None and stated != self.preprocessing.image_size:
            raise ValueError(
                f"the image tower is built for {stated} pixels, but the preprocessing makes "
                f"{self.preprocessing.image_size}"
            )
        return self

    @model_validator(mode="after")
    def _check_words(self) -> "Description":
        tower, head = self.backbone.words, self.head.evidence
        if head is not None and (tower is None or tower.words != len(head.known_words)):
            raise ValueError(
                "an evidence head needs a word tower that gives a logit for each of its known words"
            )
        if head is not None and self.calibration is None:
            raise ValueError("an evidence head describes labels by a background set: add `calibration`")
        return self

    @model_validator(mode="after")
    def _check_calibration(self) -> "Description":
        if self.calibration is not None and not self.head.independent_scores:
            raise ValueError(
                "scores that depend on the other labels asked for cannot be calibrated: remove `calibration`"
            )
        return self

    @property
    def file_names(self) -> set[str]:
        """The files of the bundle, except for the manifest and what an export adds."""
        names = {WEIGHTS, TOKENIZER} if self.backbone.has_tokenizer_file else {WEIGHTS}
        return names if self.calibration is None else names | {CALIBRATION}

    @property
    def onnx_file_names(self) -> set[str]:
        """The files that an export adds; a bundle has all or none of them. They lie beside the weights,
        because ONNX's external data may not lie above the folder of a graph."""
        graphs = {"image_tower", "text_tower"}
        if self.head.evidence is not None:  # scores are computed in NumPy, see `sigrl.model.evidence`
            graphs.add("read_regions")
        else:
            graphs |= {"match", "explain"}
            if self.head.form == "context":
                graphs.add("refine")
        if self.head.kind == "biam":
            graphs.add("enrich")
        if self.head.kind == "sigrl" and self.head.svfr:
            graphs |= {"decouple", "query", "gate"}
            if self.head.form == "context":
                graphs.add("context")
            elif self.head.gmc:
                graphs |= {"graph_nodes", "graph_hidden", "graph_output"}
        names = {f"{graph}.onnx" for graph in graphs}
        return names if self.backbone.has_tokenizer_file else names | {ONNX_TOKENIZER}


class Manifest(Description):
    """The content of manifest.json."""

    format_version: int
    """`FORMAT_VERSION`."""
    files: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]
    """Every other file of the bundle, with its SHA-256."""

    @model_validator(mode="after")
    def _check_files(self) -> "Manifest":
        # A closed list of names, so that none can lead out of the directory.
        if set(self.files) not in (self.file_names, self.file_names | self.onnx_file_names):
            raise ValueError(
                f"`files` names {sorted(self.files)}, expected {sorted(self.file_names)} and, "
                f"if it was exported, {sorted(self.onnx_file_names)}"
            )
        return self


def sha256(content: bytes) -> str:
    """The SHA-256 as hex digits."""
    return hashlib.sha256(content).hexdigest()


def write_manifest(description: Description, hashes: dict[str, str]) -> bytes:
    """The content of manifest.json, not yet checked. Raises ValueError for what JSON cannot represent."""
    described = description.model_dump(mode="json", exclude={"format_version", "files"})
    # Releases that do not know these keys can still read bundles without them.
    for part, key in (
        (described, "calibration"),
        (described["head"], "evidence"),
        (described["backbone"], "words"),
        (described["backbone"], "text_encoder"),
        (described["backbone"], "tokenizer"),
    ):
        if part[key] is None:
            del part[key]
    content = {"format_version": FORMAT_VERSION, **described, "files": hashes}
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False).encode()


def read_manifest(text: bytes) -> tuple[Manifest, str]:
    """A manifest and its checkpoint id: "sha256:" and the SHA-256 of its canonical JSON. The id identifies
    the whole bundle, because the manifest contains the hash of every file.

    Raises ValueError, which says what to do.
    """
    try:
        content = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"manifest.json is not valid JSON ({error}): copy the bundle again") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if type(version) is not int or version != FORMAT_VERSION:
        raise ValueError(
            f"the bundle has format version {version!r}, this sigrl-tagger reads {FORMAT_VERSION}: "
            "use the version of sigrl-tagger that made the bundle, or a newer one"
        )
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "".join(f"{part}: " for part in first["loc"])
        raise ValueError(f"manifest.json: {place}{first['msg']}: make the bundle again") from error
    # Computed from the JSON and not from the parsed fields, because later versions may have more fields.
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return manifest, "sha256:" + sha256(canonical.encode())


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")
