"""Prometheus metrics, in one place. They are counted where the event happens."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

# A second series per metric that nobody asked for.
disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

BUILD = Gauge(
    "sigrl_build_info",
    "1 for the version that runs and what computes in it.",
    ["version", "engine"],
    registry=REGISTRY,
)
REQUESTS = Counter(
    "sigrl_requests",
    "HTTP requests answered, by route template and status.",
    ["route", "status"],
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "sigrl_request_seconds",
    "Time from a request's headers to the end of its answer.",
    ["route"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
REQUESTS_REFUSED = Counter(
    "sigrl_requests_refused",
    "Requests answered with an error of ours, by its code: overloaded, deadline-exceeded, not-ready...",
    ["reason"],
    registry=REGISTRY,
)
IMAGES_TAGGED = Counter("sigrl_images_tagged", "Photographs tagged.", registry=REGISTRY)
IMAGES_REFUSED = Counter(
    "sigrl_images_refused", "Photographs refused, by the error's code.", ["reason"], registry=REGISTRY
)
DECODE_SECONDS = Histogram(
    "sigrl_decode_seconds", "Bytes to pixel values, of one photograph.", buckets=_SECONDS, registry=REGISTRY
)
ENCODE_IMAGES_SECONDS = Histogram(
    "sigrl_encode_images_seconds", "Image tower, of one batch.", buckets=_SECONDS, registry=REGISTRY
)
ENCODE_LABELS_SECONDS = Histogram(
    "sigrl_encode_labels_seconds", "Text tower, of one vocabulary.", buckets=_SECONDS, registry=REGISTRY
)
SCORE_SECONDS = Histogram(
    "sigrl_score_seconds", "Head and calibration, of one batch.", buckets=_SECONDS, registry=REGISTRY
)
IMAGES_ADMITTED = Gauge(
    "sigrl_images_admitted", "Photographs let in and not answered yet.", registry=REGISTRY
)
IMAGES_EXPIRED = Counter(
    "sigrl_images_expired", "Photographs not answered before their deadline.", registry=REGISTRY
)
IMAGES_CANCELLED = Counter(
    "sigrl_images_cancelled", "Photographs whose client left before their answer.", registry=REGISTRY
)
QUEUE_LENGTH = Gauge(
    "sigrl_queue_length", "Photographs decoded and waiting for the model.", registry=REGISTRY
)
QUEUE_SECONDS = Histogram(
    "sigrl_queue_seconds", "Time that a photograph waits for the model.", buckets=_SECONDS, registry=REGISTRY
)
BATCH_SIZE = Histogram(
    "sigrl_batch_size",
    "Photographs that go through the model together.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
    registry=REGISTRY,
)
BATCH_SECONDS = Histogram(
    "sigrl_batch_seconds", "All that the model does for one batch.", buckets=_SECONDS, registry=REGISTRY
)
BISECTIONS = Counter(
    "sigrl_bisections", "Batches that failed and were cut in halves to find out why.", registry=REGISTRY
)
WORKER_FAILURES = Counter(
    "sigrl_worker_failures", "Times that the model's worker failed and began anew.", registry=REGISTRY
)
ANSWERS_REPEATED = Counter(
    "sigrl_answers_repeated", "Answers given again under an Idempotency-Key.", registry=REGISTRY
)
LABEL_CACHE_HITS = Counter(
    "sigrl_label_cache_hits",
    "Vocabularies found encoded, or being encoded by another request.",
    registry=REGISTRY,
)
LABEL_CACHE_MISSES = Counter(
    "sigrl_label_cache_misses", "Vocabularies read from disk or encoded.", registry=REGISTRY
)
LABEL_FILES = Counter(
    "sigrl_label_files",
    "Vocabularies not in memory and looked for on disk, by outcome: found, missing, damaged, unreadable.",
    ["outcome"],
    registry=REGISTRY,
)
LABEL_CACHE_BYTES = Gauge("sigrl_label_cache_bytes", "Memory held by encoded labels.", registry=REGISTRY)
CHECKPOINT = Gauge("sigrl_checkpoint_info", "1 for the checkpoint in use.", ["checkpoint"], registry=REGISTRY)
CHECKPOINT_STATE = Gauge(
    "sigrl_checkpoint_state",
    "1 for the state that a checkpoint is in.",
    ["checkpoint", "state"],
    registry=REGISTRY,
)
CHECKPOINT_LOAD_SECONDS = Histogram(
    "sigrl_checkpoint_load_seconds",
    "From a bundle's first byte to a checkpoint that is ready.",
    buckets=(0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800),
    registry=REGISTRY,
)
CHECKPOINT_FAILURES = Counter(
    "sigrl_checkpoint_failures", "Bundles that could not be loaded.", registry=REGISTRY
)
SWAPS = Counter("sigrl_swaps", "Times that another checkpoint took over.", registry=REGISTRY)
GENERATION = Gauge(
    "sigrl_generation",
    "Number of the activation in force; 0 if the checkpoint in use was never activated.",
    registry=REGISTRY,
)
SHADOW_IMAGES = Counter(
    "sigrl_shadow_images", "Photographs that a shadowing checkpoint saw.", ["result"], registry=REGISTRY
)
