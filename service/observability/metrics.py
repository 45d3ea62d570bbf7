"""All Prometheus metrics. They are updated where the event happens."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

# They would add a second series for every metric.
disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

BUILD = Gauge(
    "sigrl_build_info",
    "1 for the running version and its engine.",
    ["version", "engine"],
    registry=REGISTRY,
)
REQUESTS = Counter(
    "sigrl_requests",
    "HTTP responses, by route template and status.",
    ["route", "status"],
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "sigrl_request_seconds",
    "Time from a request's headers to the end of its response.",
    ["route"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
REQUESTS_REFUSED = Counter(
    "sigrl_requests_refused",
    "Responses with a problem document, by its code: overloaded, deadline-exceeded, not-ready...",
    ["reason"],
    registry=REGISTRY,
)
IMAGES_TAGGED = Counter("sigrl_images_tagged", "Photographs tagged.", registry=REGISTRY)
IMAGES_REFUSED = Counter(
    "sigrl_images_refused", "Photographs refused, by error code.", ["reason"], registry=REGISTRY
)
DECODE_SECONDS = Histogram(
    "sigrl_decode_seconds",
    "Time to turn one photograph's bytes into pixel values.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
ENCODE_IMAGES_SECONDS = Histogram(
    "sigrl_encode_images_seconds",
    "Time in the image tower for one batch.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
ENCODE_LABELS_SECONDS = Histogram(
    "sigrl_encode_labels_seconds",
    "Time in the text tower for one vocabulary.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
SCORE_SECONDS = Histogram(
    "sigrl_score_seconds",
    "Time in the head and the calibration for one batch.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
IMAGES_ADMITTED = Gauge(
    "sigrl_images_admitted", "Photographs admitted and not finished yet.", registry=REGISTRY
)
IMAGES_EXPIRED = Counter("sigrl_images_expired", "Photographs that missed their deadline.", registry=REGISTRY)
IMAGES_CANCELLED = Counter(
    "sigrl_images_cancelled",
    "Photographs whose client disconnected before they were finished.",
    registry=REGISTRY,
)
QUEUE_LENGTH = Gauge("sigrl_queue_length", "Decoded photographs that wait for the model.", registry=REGISTRY)
QUEUE_SECONDS = Histogram(
    "sigrl_queue_seconds", "Time that a photograph waits for the model.", buckets=_SECONDS, registry=REGISTRY
)
BATCH_SIZE = Histogram(
    "sigrl_batch_size",
    "Photographs in one batch.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
    registry=REGISTRY,
)
BATCH_SECONDS = Histogram(
    "sigrl_batch_seconds", "Total time of the model for one batch.", buckets=_SECONDS, registry=REGISTRY
)
BISECTIONS = Counter(
    "sigrl_bisections", "Batches that failed and were halved to isolate the cause.", registry=REGISTRY
)
WORKER_FAILURES = Counter(
    "sigrl_worker_failures", "Times that the model's worker failed and restarted.", registry=REGISTRY
)
ANSWERS_REPEATED = Counter(
    "sigrl_answers_repeated", "Stored responses sent again for an Idempotency-Key.", registry=REGISTRY
)
LABEL_CACHE_HITS = Counter(
    "sigrl_label_cache_hits",
    "Vocabularies found in the cache, or being encoded by another request.",
    registry=REGISTRY,
)
LABEL_CACHE_MISSES = Counter(
    "sigrl_label_cache_misses", "Vocabularies read from disk or encoded.", registry=REGISTRY
)
LABEL_FILES = Counter(
    "sigrl_label_files",
    "Look-ups on disk of vocabularies not in memory, by outcome: found, missing, damaged, unreadable.",
    ["outcome"],
    registry=REGISTRY,
)
LABEL_CACHE_BYTES = Gauge("sigrl_label_cache_bytes", "Memory used by encoded labels.", registry=REGISTRY)
CHECKPOINT = Gauge("sigrl_checkpoint_info", "1 for the active checkpoint.", ["checkpoint"], registry=REGISTRY)
CHECKPOINT_STATE = Gauge(
    "sigrl_checkpoint_state",
    "1 for the current state of a checkpoint.",
    ["checkpoint", "state"],
    registry=REGISTRY,
)
CHECKPOINT_LOAD_SECONDS = Histogram(
    "sigrl_checkpoint_load_seconds",
    "Time from a bundle's first byte to a ready checkpoint.",
    buckets=(0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800),
    registry=REGISTRY,
)
CHECKPOINT_FAILURES = Counter(
    "sigrl_checkpoint_failures", "Bundles that could not be loaded.", registry=REGISTRY
)
SWAPS = Counter("sigrl_swaps", "Times that another checkpoint became active.", registry=REGISTRY)
GENERATION = Gauge(
    "sigrl_generation",
    "Number of the activation in effect; 0 if the active checkpoint was never activated.",
    registry=REGISTRY,
)
SHADOW_IMAGES = Counter(
    "sigrl_shadow_images", "Photographs given to a shadow checkpoint.", ["result"], registry=REGISTRY
)
