"""`sigrl tag DIR --ray CLUSTER --out FILE` writes the same rows as one machine."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import sample_images as samples

pytest.importorskip("ray")

# More than one block, so that two workers have something to do.
PHOTOGRAPHS = 40


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    folder.mkdir()
    for number in range(PHOTOGRAPHS):
        (folder / f"{number}.jpg").write_bytes(samples.jpeg())
    (folder / "höf\udcff.jpg").write_bytes(samples.jpeg())
    (folder / "damaged.jpg").write_bytes(samples.jpeg()[:300])
    return folder


@pytest.fixture(autouse=True)
def _ray_knows_no_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    yield
    import ray

    ray.shutdown()


def test_ray_rows_and_errors_match_a_single_machine_and_resume(
    sigrl: Callable[..., tuple[int, str, str]], album: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    def run(out: Path, *options: object) -> str:
        command = ("tag", album, "--checkpoint", tiny_bundle, "--labels", "red,green", "--threshold", "0")
        status, told, err = sigrl(*command, "--out", out, *options)
        assert status == 1, told + err
        return told

    alone, together = tmp_path / "alone.parquet", tmp_path / "together.parquet"
    run(alone)
    told = run(together, "--ray", "local")
    assert f"{PHOTOGRAPHS + 1} photographs, 1 failed" in told
    assert pq.read_table(together).equals(pq.read_table(alone))
    errors = [path.with_name(f"{path.stem}.errors.csv").read_text() for path in (alone, together)]
    assert errors[0] == errors[1]
    assert "damaged-image" in errors[0]

    # A cluster completes what one machine started.
    (album / "new.jpg").write_bytes(samples.jpeg())
    run(alone, "--ray", "local")
    assert pq.read_table(alone).num_rows == PHOTOGRAPHS + 2


def test_incompatible_options_are_rejected(
    sigrl: Callable[..., tuple[int, str, str]], album: Path, tmp_path: Path
) -> None:
    assert "--ray needs --out" in sigrl("tag", album, "--ray", "local")[2]
    out = ("--out", tmp_path / "tags.csv")
    assert "takes no --server" in sigrl("tag", album, "--ray", "local", "--server", "http://x", *out)[2]
    status, _, err = sigrl("tag", album, "--ray", "127.0.0.1:1", "--labels", "red", *out)
    assert status == 2
    assert "no Ray cluster answers" in err
