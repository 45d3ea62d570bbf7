"""What an operator can set, by environment variables with the prefix SIGRL_ (`SIGRL_PORT=8080`)."""

from pathlib import Path
from typing import Any, Literal

from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from sigrl.model.processors import available_processors
from sigrl.service.errors import ParameterError


def load_settings(**options: Any) -> "Settings":
    """Settings from the environment, with the options that are not None in their place. Raises
    ParameterError."""
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        variable = "SIGRL_" + "_".join(str(part) for part in first["loc"]).upper()
        detail = f"{variable} is '{first['input']}': {first['msg'].lower()}"
        raise ParameterError(detail, "mend or unset the environment variable") from error


def make_private_folder(folder: Path) -> None:
    """Makes a folder, and what is missing above it, for its owner alone (0700); one that is there stays as it
    is. Raises OSError."""
    if not folder.parent.exists():
        # `parents=True` would make them readable for everybody.
        make_private_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)


def _users_data() -> Path:
    """Raises ParameterError where the system has no place for this user's data: no HOME, and no entry in the
    list of users, as in containers that run under any id."""
    hint = "set SIGRL_DATA to a folder that can be written"
    try:
        path = user_data_path("sigrl")
    except RuntimeError as error:
        raise ParameterError("this user has no home folder", hint) from error
    if not path.is_absolute():
        # What older releases of platformdirs give then.
        raise ParameterError("this user has no home folder", hint)
    return path


class Settings(BaseSettings):
    """Settings of the service and the command line; options given there win over the environment."""

    model_config = SettingsConfigDict(env_prefix="SIGRL_", frozen=True, use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """Address to listen on. On any but a loopback address requests need API keys, unless `keys` says no."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 lets the system choose."""
    keys: Literal["auto", "required", "off"] = "auto"
    """Whether requests need API keys, which `sigrl key create` makes. `auto`: all but those from this machine
    to a service that listens on a loopback address. `off` lets everybody who reaches the service tag, change
    vocabularies and swap checkpoints."""
    rate_per_minute: int = Field(default=0, ge=0)
    """Requests a minute of one key, or without keys of one address, in each process; 0 sets no limit."""
    cors_origins: tuple[str, ...] = ()
    """Other sites whose pages may use the service from a visitor's browser, as a JSON list:
    `["https://photos.example.com"]`."""
    checkpoint: Path | None = None
    """Directory of a checkpoint bundle; the bundled one if not set."""
    checkpoints: Path | None = None
    """Folder of bundles, each in a folder of its own, that can be loaded while the service runs; if not set,
    `checkpoints` in the data folder."""
    checkpoint_paths: bool = False
    """Whether a bundle may also be loaded from a path outside that folder. Whoever may load one can then find
    out which files there are."""
    checkpoints_in_memory: int = Field(default=3, ge=2)
    """How many may be in memory: the active one, the one before it, and a candidate."""
    watch_checkpoints: Literal["off", "load", "activate"] = "off"
    """What happens to a bundle that is copied into the folder while the service runs: nothing, it is loaded,
    or it is activated too. With limits of drift, it is a shadow first and activated once they are kept."""
    watch_seconds: float = Field(default=5.0, gt=0)
    """How often the folder is looked at; a bundle counts when it is whole and nothing changed between two
    looks."""
    shadow_share: float = Field(default=0.1, ge=0, le=1)
    """Of the photographs that are tagged, how many a shadow sees, if the request for it does not say."""
    drift_changed_tags: float | None = Field(default=None, ge=0, le=1)
    """Limit to activation: of all tags that the active checkpoint or the candidate give, the share that only
    one of them gives."""
    drift_probability: float | None = Field(default=None, ge=0, le=1)
    """The same for the mean change of probabilities."""
    drift_latency: float | None = Field(default=None, gt=0)
    """The same for the candidate's seconds in the model by those of the active one."""
    drift_calibration_error: float | None = Field(default=None, ge=0, le=1)
    """The same for how far the candidate's probabilities are from what the examples show that vocabularies
    are calibrated by."""
    drift_photographs: int = Field(default=200, ge=1)
    """With any of these limits, how many photographs must have been compared."""
    engine: Literal["auto", "openvino", "onnx", "torch"] = "auto"
    """What computes. `auto` is PyTorch on a GPU. On a processor it is OpenVINO, or ONNX Runtime where only
    that is installed, for a bundle that `sigrl-train export` made; a bundle without graphs needs PyTorch."""
    precision: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    """`auto`: bfloat16 for the image tower (and with PyTorch for SVFR) where the processor or GPU
    multiplies in it, else float32. ONNX Runtime always computes in float32. `int8` needs PyTorch and takes
    SVFR's products and the linear layers of a ViT in int8, on a CPU; it is worth it with `compiled`."""
    compiled: bool = False
    """PyTorch only: fuse the stages of SVFR and GMC, on a GPU compile the image tower too. Needs a C++
    compiler, and some seconds at the start."""
    svfr_labels: int = Field(default=256, ge=1)
    """Checkpoints in the published form only: SVFR, whose cost grows with the labels, runs over at most so
    many of a vocabulary, evenly spaced. All are matched with the result; up to this number it is exact."""
    replica: str | None = Field(default=None, min_length=1, max_length=128)
    """Name of this process among those that share the database; made of host and process if not set."""
    replica_seconds: float = Field(default=1.0, gt=0)
    """How often it looks whether another one has activated a checkpoint, to follow."""
    data: Path = Field(default_factory=_users_data)
    """Folder for what outlives the process: the database, if no other is named, and encoded labels. If not
    set, where the system keeps a user's data: `~/.local/share/sigrl` on Linux."""
    database_url: SecretStr | None = None
    """`postgresql://user:password@host/database`, in place of a SQLite file in the data folder: for several
    replicas of the service. Needs the extra `postgres`."""
    database_seconds: float = Field(default=5.0, gt=0)
    """Longest wait for a statement, a lock or a free connection of the database, at most a third of
    `request_seconds`. What needs the database fails with 503 then, or goes on with what was read last."""
    vocabulary: str = "default"
    """What is looked for when a request names no labels: a built-in vocabulary's name or a file."""
    max_request_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    """Longest request body, and longest file on the command line."""
    body_bytes: int = Field(default=256 * 1024 * 1024, ge=1024)
    """Request bodies in memory at once, of all requests, until they are answered. A request that finds no
    room is refused with 429."""
    receive_seconds: float = Field(default=60.0, gt=0)
    """Time in which a request's headers have to arrive, and then its body; 408 after that."""
    idle_seconds: int = Field(default=75, ge=1)
    """How long a connection is kept on which nothing happens. It should be more than the idle timeout of the
    load balancer in front of the service, 60 seconds for most, or that one sends requests to connections that
    are just being closed."""
    connections: int = Field(default=512, ge=8)
    """Connections at once. A new one beyond them takes the place of one that waits for its client; where all
    have requests in work it is refused with 429."""
    max_image_pixels: int = Field(default=70_000_000, ge=1, le=170_000_000)
    """Width times height of the largest photograph, checked in its header before it is decoded."""
    url_input: bool = False
    """Whether photographs may be named by a URL, which the service then fetches from public servers."""
    url_ports: tuple[int, ...] = (80, 443)
    """The ports of URLs that are fetched."""
    url_seconds: float = Field(default=10.0, gt=0)
    """Time to fetch one."""
    max_images: int = Field(default=64, ge=1)
    """Most photographs in one request."""
    threads: int = Field(default_factory=available_processors, ge=1)
    """Photographs decoded at once, as far as `decode_bytes` allows; and lists of labels encoded at once. If
    not set, the processors that the process may use, by its affinity and its cgroup."""
    decode_bytes: int = Field(default=1280 * 1024 * 1024, ge=64 * 1024 * 1024)
    """Memory for photographs while they are decoded, of all requests together. One that needs more than this
    is refused."""
    decode_seconds: float = Field(default=20.0, gt=0)
    """Time to decode one photograph; a process that takes longer is ended, and the photograph refused."""
    queue_images: int = Field(default=256, ge=1)
    """Photographs between admission and answer, of all requests. A request that finds no room is refused with
    429 and told when to come again, in place of an answer that comes too late."""
    queue_pixels: int = Field(default=4_000_000_000, ge=1)
    """The same, by width times height: a bound on how long decoding may take."""
    batch_images: int = Field(default=8, ge=1)
    """Most photographs that go through the model together. A batch is what waits when the model becomes free.
    On a CPU more than 8 only make everybody wait longer; on a GPU 64 are worth it."""
    batch_pixels: int = Field(default=8_000_000, ge=1)
    """The same, by the pixels of the model's input, so that a checkpoint with a larger one does not need more
    memory; 159 photographs of 224 x 224."""
    request_seconds: float = Field(default=60.0, gt=0)
    """Time for a request, from its last byte on; what is not answered then fails with 504."""
    drain_seconds: float = Field(default=0.0, ge=0)
    """Before a server that is told to stop closes its port: so long it still takes requests while `/readyz`
    answers 503, so that load balancers look elsewhere first. A little more than the time between two of their
    questions."""
    shutdown_seconds: int = Field(default=30, ge=0)
    """After that, time in which it finishes what it has begun; what is left then is answered with 503."""
    log_format: Literal["auto", "text", "json"] = "auto"
    """Logs, on stderr: lines for people, or one JSON object a line; `auto` is text on a terminal."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is left out of the logs: with `info` the successful questions of probes, with `warning` the
    line of every request that did not fail with 5xx."""
    new_labels_per_minute: int = Field(default=20_000, ge=0)
    """How many labels that are not yet in memory a key of scope `tag` may have encoded in a minute; 0 sets no
    limit. A list that begins within the limit may end beyond it, and is counted against the next minutes."""
    recent_photographs: int = Field(default=0, ge=0)
    """How many of the photographs tagged last are remembered, in memory and as features only, so that changes
    of a vocabulary can be tried on them; 0 remembers none. Each takes some 30 KB, with a ViT-B/16 100 KB."""
    feedback_bytes: int = Field(default=0, ge=0)
    """Room in the database for photographs that users send with right and wrong tags, as small copies; 0
    takes none."""
    calibration_examples: int = Field(default=2000, ge=1)
    """Most labelled photographs that a vocabulary is calibrated by; small copies of them are kept in the
    database, for checkpoints to come."""
    idempotency_bytes: int = Field(default=16 * 1024 * 1024, ge=0)
    """Memory for answers that are kept ten minutes, for requests that are sent again with the same
    Idempotency-Key. Each process keeps its own."""
    label_cache_bytes: int = Field(default=256 * 1024 * 1024, ge=0)
    """Memory for encoded labels, so that a list of labels is encoded once and not for every photograph."""
    label_files_bytes: int = Field(default=2 * 1024 * 1024 * 1024, ge=0)
    """Room in the data folder for encoded labels, so that a restart encodes nothing anew; 0 keeps none."""
