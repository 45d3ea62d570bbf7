import json
import os
import socket
from pathlib import Path
from threading import Thread

import pytest
from fake_engine import FakeEngine
from sqlalchemy import create_engine, text
from two_checkpoints import serving

from sigrl.service.app import create_app
from sigrl.service.database.database import FILE_NAME, Database
from sigrl.service.settings import Settings
from sigrl.service.tagging.engines import choose_engine
from sigrl.service.tagging.tagger import Tagger


@pytest.fixture
def doctor(sigrl, monkeypatch: pytest.MonkeyPatch):
    """`doctor(SIGRL_X="...")` returns the exit status, the checks by name and the settings shown. A fake
    engine replaces the checkpoint unless one is given."""
    load = "sigrl.service.tagging.engines.load_engine"
    monkeypatch.setenv("SIGRL_PORT", "0")
    monkeypatch.setattr(load, lambda _checkpoint, _settings: FakeEngine())

    def call(**environment: str) -> tuple[int, dict[str, dict[str, str]], dict[str, object]]:
        if "SIGRL_CHECKPOINT" in environment:
            monkeypatch.undo()
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        status, out, _ = sigrl("doctor", "--json")
        answer = json.loads(out)
        assert answer["ok"] == (status == 0)
        return status, {each["check"]: each for each in answer["checks"]}, answer["settings"]

    return call


def test_fresh_installation_passes_and_is_left_unchanged(doctor, data_folder: Path) -> None:
    status, checks, settings = doctor()
    assert (status, {each["status"] for each in checks.values()} - {"note"}) == (0, {"ok"})
    assert choose_engine(None, Settings()) in checks["engine"]["detail"]
    assert "HEIC" in checks["formats"]["detail"]
    assert "tags in" in checks["checkpoint"]["detail"]
    assert settings["data"] == str(data_folder)
    assert not data_folder.exists()


def test_doctor_prints_readable_text(sigrl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "sigrl.service.tagging.engines.load_engine", lambda _checkpoint, _settings: FakeEngine()
    )
    monkeypatch.setenv("SIGRL_PORT", "0")
    status, out, err = sigrl("doctor")
    lines = out.splitlines()
    assert (status, err, lines[-1]) == (0, "", "the service can run here")
    assert lines[0].startswith("ok       python: 3.")
    assert "         SIGRL_PORT = 0" in lines


def test_damaged_checkpoint_fails_only_its_own_check(doctor, tmp_path: Path) -> None:
    status, checks, _ = doctor(SIGRL_CHECKPOINT=str(tmp_path), SIGRL_DATA=str(tmp_path / "data"))
    assert status == 1
    assert [name for name, each in checks.items() if each["status"] == "failed"] == ["checkpoint"]
    assert "manifest.json" in checks["checkpoint"]["detail"]
    assert checks["checkpoint"]["hint"]


def test_invalid_setting_is_reported_by_name(doctor) -> None:
    status, checks, _ = doctor(SIGRL_PRECISION="float8")
    assert status == 1
    assert "SIGRL_PRECISION" in checks["settings"]["detail"]


def test_database_password_is_not_shown(doctor) -> None:
    status, checks, settings = doctor(SIGRL_DATABASE_URL="postgresql://me:secret@127.0.0.1:1/tags")
    assert (status, checks["database"]["status"]) == (1, "failed")
    assert "SIGRL_DATABASE_URL" in checks["database"]["hint"]
    assert "secret" not in json.dumps([checks, settings])


def test_outdated_database_is_reported_and_not_migrated(doctor, data_folder: Path) -> None:
    settings = Settings()
    Database.open(settings).close()
    assert "revision" in doctor()[1]["database"]["detail"]
    _set_revision(data_folder, "0001")
    status, checks, _ = doctor(SIGRL_VOCABULARY="mine")
    assert (status, checks["database"]["status"], checks["vocabulary"]["status"]) == (0, "note", "note")
    assert "0001" in doctor()[1]["database"]["detail"]


def test_database_of_a_newer_release_fails_the_check(doctor, data_folder: Path) -> None:
    Database.open(Settings()).close()
    _set_revision(data_folder, "9999")
    status, checks, _ = doctor()
    assert (status, checks["database"]["status"]) == (1, "failed")
    assert "newer release" in checks["database"]["detail"]


def test_postgresql_database_is_checked(doctor, postgres) -> None:
    url = postgres.new_database()
    assert "is empty" in doctor(SIGRL_DATABASE_URL=url)[1]["database"]["detail"]
    Database.open(Settings()).close()
    assert "PostgreSQL, revision" in doctor(SIGRL_DATABASE_URL=url)[1]["database"]["detail"]


def test_port_used_by_a_sigrl_server_passes(doctor) -> None:
    with serving(create_app(Settings(), Tagger(engine=FakeEngine()))) as client:
        status, checks, _ = doctor(SIGRL_PORT=str(client.base_url.port))
    assert status == 0
    assert "a sigrl server" in checks["port"]["detail"]


def test_port_used_by_another_program_fails(doctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        Thread(target=lambda: other.accept()[0].close(), daemon=True).start()
        status, checks, _ = doctor(SIGRL_PORT=str(other.getsockname()[1]))
    assert (status, checks["port"]["status"]) == (1, "failed")
    assert "SIGRL_PORT" in checks["port"]["hint"]


@pytest.mark.skipif(os.name != "posix", reason="a device file stands for a folder that cannot be written")
def test_unwritable_data_folder_fails(doctor) -> None:
    status, checks, _ = doctor(SIGRL_DATA="/dev/null/data")
    assert (status, checks["data folder"]["status"]) == (1, "failed")


def test_compiled_setting_requires_a_compiler(
    doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert doctor()[1]["compiler"]["status"] == "note"
    status, checks, _ = doctor(SIGRL_COMPILED="1")
    assert (status, checks["compiler"]["status"]) == (1, "failed")
    assert doctor(SIGRL_ENGINE="onnx")[1]["compiler"]["status"] == "note"


def _set_revision(data: Path, revision: str) -> None:
    engine = create_engine(f"sqlite:///{data / FILE_NAME}")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :it"), {"it": revision})
    engine.dispose()
