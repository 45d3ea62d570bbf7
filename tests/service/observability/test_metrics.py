import re
from pathlib import Path

import pytest
import sample_images as samples
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families
from service_process import PendingRequest, ServiceProcess, wait_until

from sigrl import version
from sigrl.service.observability import metrics

RAW = {"content-type": "image/jpeg"}
OURS = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]
# All of them have few values: routes by template, causes by code, and a handful of checkpoints in memory.
BOUNDED = {"route", "status", "reason", "checkpoint", "state", "result", "outcome", "version", "engine"}
OTHER_UNITS = {"ms", "milliseconds", "minutes", "kb", "mb", "kilobytes", "megabytes", "percent"}


@pytest.mark.parametrize("metric", OURS, ids=lambda metric: metric._name)
def test_metric_names_follow_one_scheme(metric: MetricWrapperBase) -> None:
    name, words = metric._name, metric._name.split("_")
    assert re.fullmatch(r"sigrl(_[a-z]+)+", name)
    assert set(metric._labelnames) <= BOUNDED
    assert OTHER_UNITS.isdisjoint(words)
    # Suffixes that the format itself gives, to counters and to histograms.
    assert words[-1] not in ("total", "count", "sum", "bucket", "created")
    assert metric._documentation.endswith(".")
    if isinstance(metric, Histogram):
        assert words[-1] in ("seconds", "size")
    if isinstance(metric, Counter):
        assert words[-1] != "info"
    if words[-1] == "info":
        assert isinstance(metric, Gauge)
        assert metric._labelnames


def test_metrics_count_requests_images_and_rejections(tmp_path: Path) -> None:
    settings = {"queue_images": 2, "batch_images": 1, "max_request_bytes": 4096}
    with ServiceProcess(tmp_path, delay=1.0, **settings) as process:
        tag = "/v1/tag?labels=red"
        assert process.client.post(tag, content=samples.jpeg(), headers=RAW).status_code == 200
        files = [("image", ("a.jpg", samples.jpeg())), ("image", ("b.jpg", b"broken"))]
        assert process.client.post(tag, files=files).status_code == 200
        assert process.client.post(tag, content=b"broken", headers=RAW).status_code == 415
        assert process.client.post(tag, content=bytes(5000), headers=RAW).status_code == 413
        assert process.client.post("/v1/tag?nonsense=1", content=b"", headers=RAW).status_code == 422
        assert process.client.get("/nowhere/at/all").status_code == 404
        busy = [PendingRequest(process, content=samples.jpeg(), headers=RAW) for _ in range(2)]
        wait_until(lambda: process.metric("sigrl_images_admitted") == 2)
        assert process.client.post(tag, content=samples.jpeg(), headers=RAW).status_code == 429
        assert [each.result().status_code for each in busy] == [200, 200]
        # A request is counted when its answer is on its way.
        wait_until(lambda: process.metric('sigrl_request_seconds_count{route="/v1/tag"}') == 8)
        found = process.client.get("/metrics").text

    families = {family.name: family for family in text_string_to_metric_families(found)}
    samples_of = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    expected = {
        ("sigrl_requests_total", "/v1/tag", "200"): 4,
        ("sigrl_requests_total", "/v1/tag", "413"): 1,
        ("sigrl_requests_total", "/v1/tag", "415"): 1,
        ("sigrl_requests_total", "/v1/tag", "422"): 1,
        ("sigrl_requests_total", "/v1/tag", "429"): 1,
        ("sigrl_requests_total", "404", "unmatched"): 1,
        ("sigrl_request_seconds_count", "/v1/tag"): 8,
        ("sigrl_requests_refused_total", "overloaded"): 1,
        ("sigrl_requests_refused_total", "unsupported-image"): 1,
        ("sigrl_requests_refused_total", "request-too-large"): 1,
        ("sigrl_requests_refused_total", "invalid-parameter"): 1,
        ("sigrl_images_tagged_total",): 4,
        ("sigrl_images_refused_total", "unsupported-image"): 2,
        ("sigrl_images_admitted",): 0,
        ("sigrl_queue_length",): 0,
        # The probe at the start is a batch, too.
        ("sigrl_batch_size_count",): 5,
        ("sigrl_batch_size_sum",): 5,
        ("sigrl_encode_images_seconds_count",): 5,
        ("sigrl_score_seconds_count",): 5,
        ("sigrl_decode_seconds_count",): 4,
        ("sigrl_queue_seconds_count",): 5,
        ("sigrl_encode_labels_seconds_count",): 2,
        ("sigrl_label_cache_misses_total",): 2,
        ("sigrl_images_expired_total",): 0,
        ("sigrl_images_cancelled_total",): 0,
        ("sigrl_worker_failures_total",): 0,
        ("sigrl_swaps_total",): 0,
        ("sigrl_generation",): 1,
        ("sigrl_checkpoint_info", "sha256:fake"): 1,
        ("sigrl_checkpoint_state", "active", "sha256:fake"): 1,
        ("sigrl_build_info", *sorted((version(), "auto"))): 1,
    }
    assert {key: samples_of.get(key) for key in expected} == expected
    # Each batch took the model a second.
    assert samples_of[("sigrl_encode_images_seconds_sum",)] >= 5
    assert samples_of[("sigrl_label_cache_hits_total",)] >= 1
