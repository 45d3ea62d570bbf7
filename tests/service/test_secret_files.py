"""Settings in /run/secrets, where Compose puts them."""

from pathlib import Path

import pytest

from sigrl.service.errors import ParameterError
from sigrl.service.settings import Settings, load_settings

URL = "postgresql://sigrl:secret@postgres/sigrl"


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(Settings.model_config, "secrets_dir", tmp_path)
    monkeypatch.delenv("SIGRL_DATABASE_URL", raising=False)
    return tmp_path


def test_secret_file_sets_a_setting_unless_the_environment_does(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (secrets / "sigrl_database_url").write_text(f"{URL}\n")
    (secrets / "sigrl_port").write_text("8001")
    monkeypatch.setenv("SIGRL_PORT", "8002")
    settings = load_settings()
    assert settings.database_url is not None
    assert (settings.database_url.get_secret_value(), settings.port) == (URL, 8002)


def test_unreadable_secret_file_is_reported(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied", str(self))

    (secrets / "sigrl_database_url").write_text(URL)
    # Root, as whom tests may run, can read everything.
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(ParameterError, match=r"Permission denied: '.*sigrl_database_url'.*readable"):
        load_settings()
