"""The settings of an installation: environment variables such as `SIGRL_PORT=8080`."""

from pathlib import Path
from typing import Any, Literal

from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from sigrl.model.processors import available_processors
from sigrl.service.errors import ParameterError

_SECRETS = Path("/run/secrets")
"""Where container engines put secrets, each in a file of its own."""


def load_settings(**options: Any) -> "Settings":
    """Settings from the environment and the files of /run/secrets; options that are not None take precedence
    over both, the environment over files. Raises ParameterError."""
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        variable = "SIGRL_" + "_".join(str(part) for part in first["loc"]).upper()
        detail = f"{variable} is '{first['input']}': {first['msg'].lower()}"
        raise ParameterError(detail, "correct or unset the environment variable") from error
    except SettingsError as error:
        hint = f"correct the environment variable, or make the file in {_SECRETS} readable for this user"
        raise ParameterError(f"{error}: {error.__cause__}", hint) from error


def make_private_folder(folder: Path) -> None:
    """Creates a folder and its missing parents with mode 0700; existing ones stay as they are. Raises
    OSError."""
    if not folder.parent.exists():
        # `parents=True` would make the parents readable for everybody.
        make_private_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)


def _users_data() -> Path:
    """Raises ParameterError if the user has neither HOME nor an entry in the list of users, as in containers
    that run under an arbitrary user id."""
    hint = "set SIGRL_DATA to a writable folder"
    try:
        path = user_data_path("sigrl")
    except RuntimeError as error:
        raise ParameterError("this user has no home folder", hint) from error
    if not path.is_absolute():
        # Older releases of platformdirs return a relative path then.
        raise ParameterError("this user has no home folder", hint)
    return path


class Settings(BaseSettings):
    """Settings of the service and the command line, whose options take precedence over the environment."""

    model_config = SettingsConfigDict(
        env_prefix="SIGRL_",
        frozen=True,
        use_attribute_docstrings=True,
        # pydantic warns of a folder that is not there.
        secrets_dir=_SECRETS if _SECRETS.is_dir() else None,
    )

    host: str = "127.0.0.1"
    """Address to listen on. Requests to an address other than loopback need API keys, unless `keys` is
    `off`."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 lets the system choose."""
    keys: Literal["auto", "required", "off"] = "auto"
    """Whether requests need API keys, which `sigrl key create` makes. `auto`: all requests do, except those
    from this machine to a service that listens on a loopback address. `off` lets everybody who reaches the
    service tag, change vocabularies and swap checkpoints."""
    rate_per_minute: int = Field(default=0, ge=0)
    """Requests per minute of one key, or of one address if no keys are used, in each process; 0 sets no
    limit."""
    cors_origins: tuple[str, ...] = ()
    """Other sites whose pages may use the service from a visitor's browser, as a JSON list:
    `["https://photos.example.com"]`."""
    checkpoint: Path | None = None
    """Directory of a checkpoint bundle; the bundled one if not set."""
    checkpoints: Path | None = None
    """Folder of bundles that can be loaded while the service runs, each in its own folder; by default
    `checkpoints` in the data folder."""
    checkpoint_paths: bool = False
    """Whether a bundle may also be loaded from a path outside that folder. Whoever may load bundles can then
    find out which files exist."""
    checkpoints_in_memory: int = Field(default=3, ge=2)
    """The largest number of checkpoints in memory: the active one, the previous one, and a candidate."""
    watch_checkpoints: Literal["off", "load", "activate"] = "off"
    """What happens to a bundle that is copied into the folder while the service runs: nothing, it is loaded,
    or it is also activated. With drift limits, it is a shadow first and is activated when it meets them."""
    watch_seconds: float = Field(default=5.0, gt=0)
    """Seconds between two looks at the folder. A bundle is used when it is complete and has not changed
    between two looks."""
    shadow_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the tagged photographs that a shadow also tags, if the request for it gives none."""
    drift_changed_tags: float | None = Field(default=None, ge=0, le=1)
    """Drift limit for activation: of all tags that the active checkpoint or the candidate gives, the share
    that only one of them gives."""
    drift_probability: float | None = Field(default=None, ge=0, le=1)
    """Drift limit for the mean change of probabilities."""
    drift_latency: float | None = Field(default=None, gt=0)
    """Drift limit for the candidate's time in the model, divided by that of the active checkpoint."""
    drift_calibration_error: float | None = Field(default=None, ge=0, le=1)
    """Drift limit for the candidate's calibration error on the examples of calibrated vocabularies."""
    drift_photographs: int = Field(default=200, ge=1)
    """Number of photographs that must have been compared if there is a drift limit."""
    engine: Literal["auto", "openvino", "onnx", "torch"] = "auto"
    """The inference engine. `auto` is PyTorch on a GPU. On a CPU it is OpenVINO, or ONNX Runtime if only that
    is installed, for a bundle that `sigrl-train export` made; a bundle without graphs needs PyTorch."""
    precision: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    """`auto`: bfloat16 for the image tower (and with PyTorch for SVFR) if the CPU or GPU multiplies in
    bfloat16, else float32. ONNX Runtime always computes in float32. `int8` needs PyTorch and a CPU, and
    computes SVFR's products and a ViT's linear layers in int8; it is worthwhile with `compiled`. A bundle
    made by `sigrl-train export --int8` runs its image tower in int8 on OpenVINO and ONNX Runtime; leave
    `auto` for it."""
    compiled: bool = False
    """PyTorch only: fuse the stages of SVFR and GMC, and on a GPU also compile the image tower. Needs a C++
    compiler, and some seconds at the start."""
    svfr_labels: int = Field(default=256, ge=1)
    """Checkpoints in the published form only: SVFR, whose cost grows with the number of labels, runs over at
    most this many labels of a vocabulary, evenly spaced. All labels are matched with the result. For smaller
    vocabularies it is exact."""
    replica: str | None = Field(default=None, min_length=1, max_length=128)
    """Name of this process among those that share the database; by default made from the host's name and the
    process id."""
    replica_seconds: float = Field(default=1.0, gt=0)
    """Seconds between two looks for checkpoints that other replicas have activated, which this one then
    follows."""
    data: Path = Field(default_factory=_users_data)
    """Folder for data that outlives the process: the database, unless another is named, and encoded labels.
    By default the system's place for a user's data: `~/.local/share/sigrl` on Linux."""
    database_url: SecretStr | None = None
    """`postgresql://user:password@host/database`, used instead of a SQLite file in the data folder: for
    several replicas of the service. Needs the extra `postgres`."""
    database_seconds: float = Field(default=5.0, gt=0)
    """Longest wait for a statement, a lock or a free connection of the database, at most a third of
    `request_seconds`. After that, a request that needs the database fails with 503 or uses what was read
    last."""
    vocabulary: str = "default"
    """Vocabulary for requests that name no labels: the name of a built-in one, or a file."""
    max_request_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    """Longest request body, and longest file on the command line."""
    body_bytes: int = Field(default=256 * 1024 * 1024, ge=1024)
    """Memory for the bodies of all requests in progress. A request for which there is no room is refused with
    429."""
    receive_seconds: float = Field(default=60.0, gt=0)
    """Time limit for the arrival of a request's headers, and then of its body; 408 after that."""
    idle_seconds: int = Field(default=75, ge=1)
    """How long an idle connection is kept open. It should be longer than the idle timeout of the load
    balancer in front of the service, which is usually 60 seconds; otherwise the load balancer sends requests
    to connections that are just being closed."""
    connections: int = Field(default=512, ge=8)
    """The largest number of connections. A new one beyond it replaces one that waits for its client; if all
    are busy, it is refused with 429."""
    max_image_pixels: int = Field(default=70_000_000, ge=1, le=170_000_000)
    """Width times height of the largest photograph, checked in its header before it is decoded."""
    url_input: bool = False
    """Whether photographs may be named by a URL, which the service then fetches from public servers."""
    url_ports: tuple[int, ...] = (80, 443)
    """The allowed ports of URLs."""
    url_seconds: float = Field(default=10.0, gt=0)
    """Time limit for fetching one photograph."""
    label_studio_url: str | None = Field(default=None, pattern=r"^https?://[^/]+(/.*)?$")
    """Address of a Label Studio. Its ML backend fetches photographs from there, also in a private network."""
    label_studio_key: SecretStr | None = None
    """A legacy access token of Label Studio, from the account's page there."""
    max_images: int = Field(default=64, ge=1)
    """The largest number of photographs in one request."""
    threads: int = Field(default_factory=available_processors, ge=1)
    """The number of photographs decoded at once, as far as `decode_bytes` allows, and of lists of labels
    encoded at once. By default the number of processors that the process may use, by its affinity and its
    cgroup."""
    decode_bytes: int = Field(default=1280 * 1024 * 1024, ge=64 * 1024 * 1024)
    """Memory for decoding the photographs of all requests. A photograph that needs more than this is
    refused."""
    decode_seconds: float = Field(default=20.0, gt=0)
    """Time limit for decoding one photograph. A process that takes longer is ended, and its photograph is
    refused."""
    queue_images: int = Field(default=256, ge=1)
    """The largest number of photographs between admission and answer, over all requests. A request beyond it
    is refused with 429 and told when to try again, because its answer would come too late."""
    queue_pixels: int = Field(default=4_000_000_000, ge=1)
    """The same limit in pixels (width times height), which bounds the time that decoding may take."""
    batch_images: int = Field(default=8, ge=1)
    """The largest number of photographs in one batch. A batch takes what waits when the model becomes free.
    On a CPU, more than 8 only makes everybody wait longer; on a GPU, 64 is worthwhile."""
    batch_pixels: int = Field(default=8_000_000, ge=1)
    """The same limit in pixels of the model's input, so that a checkpoint with a larger input does not need
    more memory; 159 photographs of 224 x 224."""
    request_seconds: float = Field(default=60.0, gt=0)
    """Time limit for a request, from the arrival of its last byte; it fails with 504 after that."""
    drain_seconds: float = Field(default=0.0, ge=0)
    """How long a server that was told to stop keeps its port open. During this time it answers requests,
    while `/readyz` answers 503 so that load balancers turn to other servers. Use a little more than the time
    between two of their health checks."""
    shutdown_seconds: int = Field(default=30, ge=0)
    """After that, the time limit for finishing the requests in progress; the others are answered with 503."""
    log_format: Literal["auto", "text", "json"] = "auto"
    """Format of the logs on stderr: text for people, or one JSON object per line. `auto` is text on a
    terminal."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe log level that is written. `info` leaves out successful health checks; `warning`
    leaves out every request that did not fail with 5xx."""
    new_labels_per_minute: int = Field(default=20_000, ge=0)
    """How many labels that are not yet in memory a key of scope `tag` may have encoded per minute; 0 sets no
    limit. A list that begins within the limit may exceed it, and is counted against the next minutes."""
    recent_photographs: int = Field(default=0, ge=0)
    """How many recently tagged photographs are remembered, in memory and only as features, so that changes of
    a vocabulary can be tried on them; 0 remembers none. Each takes some 30 KB, with a ViT-B/16 100 KB."""
    feedback_bytes: int = Field(default=0, ge=0)
    """Space in the database for small copies of photographs that users send with right and wrong tags; 0
    refuses feedback."""
    calibration_examples: int = Field(default=2000, ge=1)
    """The largest number of labelled photographs of a calibrated vocabulary. Small copies of them are stored
    in the database for future checkpoints."""
    idempotency_bytes: int = Field(default=16 * 1024 * 1024, ge=0)
    """Memory for answers that are kept for ten minutes, for requests that are sent again with the same
    Idempotency-Key. Each process has its own."""
    label_cache_bytes: int = Field(default=256 * 1024 * 1024, ge=0)
    """Memory for encoded labels, so that a list of labels is encoded once and not for each photograph."""
    label_files_bytes: int = Field(default=2 * 1024 * 1024 * 1024, ge=0)
    """Space in the data folder for encoded labels, so that they need not be encoded again after a restart; 0
    stores none."""
