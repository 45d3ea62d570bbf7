"""The systemd unit and nginx's site, as they lie on a Debian machine without containers."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sigrl.service.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
SYSTEM_NGINX = Path("/etc/nginx/nginx.conf")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    # It looks for the program, and that is installed nowhere in a test.
    unit = (DEPLOY / "sigrl.service").read_text().replace("/opt/sigrl/bin/sigrl", "/bin/true")
    (tmp_path / "sigrl.service").write_text(unit)
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / "sigrl.service"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "sigrl.service:" not in verified.stderr


def test_systemd_stop_timeout_exceeds_the_shutdown_time() -> None:
    found = re.search(r"^TimeoutStopSec=(\d+)$", (DEPLOY / "sigrl.service").read_text(), re.MULTILINE)
    assert found
    settings = Settings()
    assert int(found[1]) >= settings.drain_seconds + settings.shutdown_seconds + 10


@pytest.mark.skipif(
    NGINX is None or not SYSTEM_NGINX.exists(), reason="nginx is not installed here, or not by Debian"
)
def test_system_nginx_accepts_our_site(tmp_path: Path) -> None:
    system = tmp_path / "nginx"
    shutil.copytree(SYSTEM_NGINX.parent, system, symlinks=True)
    shutil.copy(DEPLOY / "nginx" / "site.conf", system / "conf.d" / "sigrl.conf")
    shutil.copy(DEPLOY / "nginx" / "replicas.conf", system / "sigrl-replicas.conf")
    # Its logs and its pid are root's; the rest is the system's configuration as it stands.
    main = system / "nginx.conf"
    text = main.read_text().replace("/etc/nginx/", f"{system}/").replace("/var/log/nginx/", f"{tmp_path}/")
    main.write_text(re.sub(r"^pid .*;", f"pid {tmp_path}/pid;", text, flags=re.MULTILINE))
    assert NGINX is not None
    command = [NGINX, "-t", "-e", str(tmp_path / "error.log"), "-c", str(main)]
    tested = subprocess.run(command, capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stderr
    everything = subprocess.run([*command, "-T"], capture_output=True, text=True, check=True).stdout
    assert "server 127.0.0.1:8000 max_fails=1" in everything
