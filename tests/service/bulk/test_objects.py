"""`sigrl tag s3://bucket/folder`, against a server with the interface of S3."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import fsspec
import pytest
import s3fs
import sample_images as samples
from fake_engine import FakeEngine
from moto.server import ThreadedMotoServer

Sigrl = Callable[..., tuple[int, str, str]]
LABELS = ("--labels", "red,green")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(endpoint: str, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of the server, whose bucket `album` has photographs."""
    monkeypatch.setattr("sigrl.service.tagging.tagger.load_engine", lambda *_: engine)
    monkeypatch.chdir(tmp_path)
    variables = {"ENDPOINT_URL": endpoint, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}
    for name, value in (variables | {"DEFAULT_REGION": "us-east-1"}).items():
        monkeypatch.setenv(f"AWS_{name}", value)
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="album")
    for name in ("a.jpg", "below/b.jpg", "c.JPG", ".hidden.jpg", "notes.txt", "@eaDir/a.jpg"):
        client.put_object(Bucket="album", Key=f"2024/{name}", Body=samples.jpeg())
    client.put_object(Bucket="album", Key="2024/damaged.jpg", Body=samples.jpeg()[:300])
    yield client
    for each in client.list_objects_v2(Bucket="album")["Contents"]:
        client.delete_object(Bucket="album", Key=each["Key"])
    client.delete_bucket(Bucket="album")


def _tagged(out: Path) -> set[str]:
    with out.open(encoding="utf-8", newline="") as file:
        return {row["path"] for row in csv.DictReader(file)}


def test_s3_folder_is_tagged_and_a_second_run_resumes(sigrl: Sigrl, s3: Any, engine: FakeEngine) -> None:
    out = Path("tags.csv")
    status, told, _ = sigrl("tag", "s3://album/2024", *LABELS, "--out", out)
    assert (status, "3 photographs, 1 failed" in told) == (1, True)
    addresses = {f"s3://album/2024/{name}" for name in ("a.jpg", "below/b.jpg", "c.JPG")}
    assert _tagged(out) == addresses
    assert "s3://album/2024/damaged.jpg,damaged-image" in Path("tags.errors.csv").read_text()

    s3.put_object(Bucket="album", Key="2024/damaged.jpg", Body=samples.jpeg())
    s3.put_object(Bucket="album", Key="2024/new.jpg", Body=samples.jpeg())
    s3.put_object(Bucket="album", Key="2024/a.jpg", Body=samples.jpeg(64, 48))
    before = sum(engine.batches)
    status, told, _ = sigrl("tag", "s3://album/2024", *LABELS, "--out", out)
    assert (status, told) == (0, "tags.csv: 5 photographs\n")
    assert sum(engine.batches) - before == 3
    assert _tagged(out) == addresses | {"s3://album/2024/damaged.jpg", "s3://album/2024/new.jpg"}


@pytest.mark.usefixtures("s3")
def test_tags_are_printed_without_the_out_option(sigrl: Sigrl) -> None:
    status, told, _ = sigrl("tag", "s3://album/2024/a.jpg", "s3://album/2024/below", *LABELS)
    assert status == 0
    printed = [line for line in told.splitlines() if line.startswith("s3:")]
    assert printed == ["s3://album/2024/a.jpg", "s3://album/2024/below/b.jpg"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["s3://nowhere/2024"], "'s3://nowhere/2024' does not exist"),
        (["s3://album/2023"], "'s3://album/2023' does not exist"),
        (["nothing://album"], "addresses with nothing:// are not known"),
        (["gs://album"], "gcsfs"),
        (["s3://album/2024", "--sheet", "sheet.png"], "objects take no"),
        (["s3://album/2024", __file__], "given together"),
    ],
)
@pytest.mark.usefixtures("s3")
def test_s3_address_that_cannot_be_tagged_is_reported(sigrl: Sigrl, arguments: list[str], says: str) -> None:
    status, _, told = sigrl("tag", *arguments, *LABELS)
    assert (status, says in told) == (2, True), told


@pytest.mark.usefixtures("s3")
def test_denied_s3_access_is_reported(sigrl: Sigrl, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Forbidden")

    monkeypatch.setattr(s3fs.S3FileSystem, "info", refuse)
    status, _, told = sigrl("tag", "s3://album/2024", *LABELS)
    assert (status, "access to 's3://album/2024' is denied" in told) == (2, True), told


@pytest.mark.usefixtures("s3")
def test_missing_s3_credentials_are_reported(
    sigrl: Sigrl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.delenv(f"AWS_{name}")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    s3fs.S3FileSystem.clear_instance_cache()
    status, _, told = sigrl("tag", "s3://album/2024", *LABELS)
    assert (status, "AWS_ACCESS_KEY_ID" in told) == (2, True), told


@pytest.mark.usefixtures("s3")
def test_missing_s3_package_is_reported(sigrl: Sigrl, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    status, _, told = sigrl("tag", "s3://album/2024", *LABELS)
    assert (status, "sigrl-tagger[objects]" in told) == (2, True), told
