import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hub.stand_in import StandIn, serving

from sigrl.service.errors import DownloadError
from sigrl.service.hub import download
from sigrl.service.hub.download import Hub, RemoteFile

PATH = "/someone/tiny/resolve/main/weights.safetensors"
CONTENT = np.random.default_rng(0).bytes(300_000)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    with serving(StandIn({PATH: CONTENT})) as hub:
        yield hub


def fetch(hub: StandIn, destination: Path) -> list[int]:
    told: list[int] = []
    with Hub(hub.address) as ours:
        remote = ours.find("someone/tiny", "weights.safetensors")
        ours.download(remote, destination, told.append)
    return told


def test_download_is_complete_and_reports_progress(hub: StandIn, tmp_path: Path) -> None:
    told = fetch(hub, tmp_path / "weights")
    assert (tmp_path / "weights").read_bytes() == CONTENT
    assert told == sorted(told)
    assert told[-1] == len(CONTENT)
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]
    # What is there and right is not asked for again.
    hub.asked.clear()
    fetch(hub, tmp_path / "weights")
    assert {method for method, _, _ in hub.asked} == {"HEAD"}


def test_broken_download_resumes(hub: StandIn, tmp_path: Path) -> None:
    hub.breaks_after = 70_000
    fetch(hub, tmp_path / "weights")
    assert (tmp_path / "weights").read_bytes() == CONTENT
    ranges = [wanted for method, path, wanted in hub.asked if method == "GET" and path.startswith("/storage")]
    assert len(ranges) == 5
    assert ranges[1] == "bytes=70000-"


def test_partial_file_of_an_earlier_run_is_resumed(hub: StandIn, tmp_path: Path) -> None:
    (tmp_path / "weights.part").write_bytes(CONTENT[:200_000])
    fetch(hub, tmp_path / "weights")
    assert (tmp_path / "weights").read_bytes() == CONTENT
    assert ("GET", "/storage" + PATH, "bytes=200000-") in hub.asked


def test_download_restarts_if_the_server_ignores_ranges(hub: StandIn, tmp_path: Path) -> None:
    hub.ignores_ranges = True
    (tmp_path / "weights.part").write_bytes(b"x" * 1000)
    fetch(hub, tmp_path / "weights")
    assert (tmp_path / "weights").read_bytes() == CONTENT


def test_hub_that_sends_no_data_is_reported(hub: StandIn, tmp_path: Path) -> None:
    hub.breaks_after = 0
    with pytest.raises(DownloadError, match="cannot be downloaded") as caught:
        fetch(hub, tmp_path / "weights")
    assert "it resumes the download" in caught.value.hint
    assert not (tmp_path / "weights").exists()


def test_slow_hub_does_not_time_out(hub: StandIn, tmp_path: Path) -> None:
    hub.chunk_seconds = 0.05
    told = fetch(hub, tmp_path / "weights")
    assert (tmp_path / "weights").read_bytes() == CONTENT
    assert len(set(told)) > 2


def test_wrong_hash_is_rejected_and_the_file_deleted(hub: StandIn, tmp_path: Path) -> None:
    hub.lies = True
    with pytest.raises(DownloadError, match="arrived with the hash") as caught:
        fetch(hub, tmp_path / "weights")
    assert "do not use it" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_damaged_partial_file_is_detected_by_its_hash(hub: StandIn, tmp_path: Path) -> None:
    (tmp_path / "weights.part").write_bytes(b"x" * 1000)
    with pytest.raises(DownloadError, match="arrived with the hash"):
        fetch(hub, tmp_path / "weights")
    fetch(hub, tmp_path / "weights")
    assert (tmp_path / "weights").read_bytes() == CONTENT


def test_hub_without_hashes_is_rejected(hub: StandIn) -> None:
    hub.states_hash = False
    with Hub(hub.address) as ours, pytest.raises(DownloadError, match="could not be checked"):
        ours.find("someone/tiny", "weights.safetensors")


def test_first_file_name_found_on_the_hub_is_used(hub: StandIn) -> None:
    with Hub(hub.address) as ours:
        remote = ours.find("someone/tiny", "weights.new", "weights.safetensors")
        assert remote == RemoteFile(hub.address + PATH, len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
        with pytest.raises(DownloadError, match="has no a or b"):
            ours.find("someone/tiny", "a", "b")


def test_unreachable_hub_is_reported() -> None:
    with Hub("http://127.0.0.1:1") as ours, pytest.raises(DownloadError) as caught:
        ours.find("someone/tiny", "weights.safetensors")
    assert f"http://127.0.0.1:1{PATH} cannot be downloaded" in caught.value.detail


def test_git_blob_hash_is_supported_for_small_files(tmp_path: Path) -> None:
    file = tmp_path / "hello.txt"
    file.write_bytes(b"hello\n")
    assert download.digest(file, "0" * 40) == "ce013625030ba8dba906f756967f9e9ca394464a"
