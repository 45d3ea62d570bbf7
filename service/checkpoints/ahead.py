"""Lets a process of its own do the expensive part of loading a bundle: see `ahead_process`."""

import json
import logging
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.processes import environment, run_module
from sigrl.service.settings import Settings
from sigrl.service.tagging.engines import choose_engine

_SETTINGS = {"data", "precision", "svfr_labels", "vocabulary", "label_cache_bytes", "label_files_bytes"}
_logger = logging.getLogger("sigrl")


def compile_ahead(
    path: Path, settings: Settings, vocabularies: Sequence[Vocabulary], progress: Callable[[int, int], None]
) -> None:
    """Compiles the graphs of the bundle in `path` and encodes the vocabularies into the data folder, if
    OpenVINO will run the bundle; waits until that is done. A failure is logged, because loading the bundle
    says why it cannot be used.

    `progress` is called with the numbers of encoded labels and of all labels; an exception from it ends the
    process and is raised.
    """
    if choose_engine(path, settings) != "openvino":
        return
    # The examples of calibrated vocabularies are fitted by the service, which has the database.
    plain = [each for each in vocabularies if each.calibration is None]
    total = sum(len(each.labels) for each in plain)
    chosen = settings.model_dump(mode="json", include=_SETTINGS)
    job = {
        "settings": chosen | {"engine": "openvino", "threads": 1, "checkpoint": str(path)},
        "vocabularies": [each.model_dump(mode="json") for each in plain],
    }
    with subprocess.Popen(
        run_module("sigrl.service.checkpoints.ahead_process"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            json.dump(job, process.stdin)
            process.stdin.close()
            for line in process.stdout:
                done = int(line)
                progress(done, max(done, total))
        except BrokenPipeError:
            pass
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        _logger.warning("%s was not compiled ahead: the process ended with %d", path, process.returncode)
