"""The commands that README and docs show, in the order of the site; and which of them a test does not run."""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]

NOT_RUN = {
    r"(\w+=\S+ )*sigrl serve( &)?": "runs until it is stopped; a process of the test's is there in its place",
    r"(\w+=\S+ )*docker ": "needs a container engine; deploy/prove_image.py and tests/deploy run its parts",
    r"kubectl |\(printf 'apiVersion": "needs a cluster; tests/deploy checks the manifests",
    r"((useradd|systemctl|journalctl|apt-get|nginx|runuser) |cp deploy/|echo SIGRL_|/opt/sigrl/bin/pip )": (
        "changes the machine; tests/deploy/test_bare_metal.py checks the unit and the site"
    ),
    r"python3 -m venv /opt/sigrl": "the same",
    r"PYTHONPATH=deploy serve run ": "runs until it is stopped; tests/deploy/test_ray_serve.py runs it",
    r"sigrl tag .*--ray ": "starts or needs a cluster; tests/service/bulk/test_on_ray.py has one",
    r"pip install ": "changes the environment and asks a registry; .ci/run and deploy/prove_image.py install",
    r"python -m pytest": "that is what runs here",
    r"torchrun ": "needs four GPUs; tests/training runs two processes",
    r"sigrl checkpoint get (?!--list)": "fetches weights from a hub; tests/service/commands has a stand-in",
    r"sigrl-train import --open-clip ": "fetches weights from a hub; tests/training imports from files",
    r"sigrl(-train)? .*training/configs/": "needs data sets, and hours; tests/training has small ones",
    r"sigrl-train \w+ .*(mkt|biam|clip|mine)\.yaml": "the same, and the file is the reader's",
    r"sigrl-train init photographs labels\.csv": "the photographs are the reader's; others are run",
    r"sigrl-train export ": "the photographs are the reader's; tests/training has others",
    r"sigrl-train head runs/clip ": "of an import that is not run; tests/training has another bundle",
    r"sigrl-train distill ": "of an import that is not run; tests/training has other teachers",
    r"sigrl tag film\.mp4": "of a film that is not among the examples",
    r"sigrl tag examples --checkpoint runs/(clip|bundled)": "of a training or an import that is not run",
    r"(python3 -m venv infinity|infinity/bin/pip )": "three gigabytes, to measure another server",
    r"python -m benchmarks\.serving ": "a quarter of an hour",
    r"md5sum ": "needs the data sets",
    r"sigrl key revoke ": "the key is an example's; tests/service/keys revokes one",
    r"curl .*https://tags\.example\.com": "a server that is not there",
}
"""Patterns at the begin of a command, and why: all others are run."""

ONCE = (r"python examples/small_set\.py", r"sigrl-train (init|fit) ", r"cp -r runs/", r"sigrl (tag|doctor)\b")
"""What several pages show, and takes long, changes nothing, or cannot be done twice: the first is run."""

_CHANGED = (
    # A third of the photographs, two epochs, no mirror images: it takes a minute otherwise, and what is
    # learnt is not looked at.
    (r"(python examples/small_set\.py small)", r"\1; rm small/*/[12]*.jpg"),
    (
        r"(sigrl-train fit --config small\.yaml)",
        r"sed -i 's/epochs: 15/epochs: 2/; s/augment: true/augment: false/' small.yaml; \1",
    ),
    # Without an address they ask port 8000.
    (r"^(sigrl (checkpoint|feedback|vocab (calibrate|suggest)) )", r"SIGRL_SERVER=http://127.0.0.1:8000 \1"),
)


def pages() -> list[Path]:
    """README.md, then the pages of docs/ as the site has them."""

    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    listed = [ROOT / "docs" / page for section in navigation for page in next(iter(section.values()))]
    assert set(listed) == set((ROOT / "docs").rglob("*.md"))
    return [ROOT / "README.md", *listed]


def commands(page: Path) -> Iterator[str]:
    """A page's shell commands and blocks of Python, in their order, each as lines for bash. What && joins is
    several."""
    text = page.read_text(encoding="utf-8")
    for language, block in re.findall(r"^```(sh|python)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if language == "python":
            yield f"cat > page.py <<'END'\n{block}END\nrun-python page.py"
        else:
            yield from _commands(block)


def script(page: Path, done: set[str], server: str) -> str:
    """What bash is to run of a page; `server` stands for the one at port 8000. `done` are the commands of
    earlier pages, to which these are added."""
    lines = ["set -eu -o pipefail", "trap 'echo \"failed: $BASH_COMMAND\" >&2' ERR"]
    for command in filter(is_run, commands(page)):
        if command in done and any(re.match(pattern, command) for pattern in ONCE):
            continue
        done.add(command)
        for pattern, changed in _CHANGED:
            command = re.sub(pattern, changed, command)
        lines.append(command.replace("http://127.0.0.1:8000", server))
    return "\n".join(lines)


def outputs(page: Path) -> Iterator[str]:
    """The lines of a page that tags or a calibration printed."""
    for block in re.findall(
        r"^```text\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    ):
        if block.startswith(("examples/", "label ")):
            yield from block.splitlines()


def is_run(command: str) -> bool:
    """Whether the test runs it."""
    return not any(re.match(pattern, command) for pattern in NOT_RUN)


def _commands(block: str) -> Iterator[str]:
    lines = iter(block.splitlines())
    for line in lines:
        while line.endswith("\\"):
            line = line[:-1] + next(lines)
        if end := re.search(r"<<'(\w+)'", line):
            while not line.endswith(f"\n{end[1]}"):
                line += f"\n{next(lines)}"
            yield line
            continue
        line = re.sub(r"(^|\s+)#.*", "", line)
        yield from filter(None, line.split(" && "))
