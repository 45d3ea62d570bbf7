"""A process that compiles a bundle's graphs and encodes labels into the data folder, for the service that
started it and will load the bundle from there.

It has the lowest priority and one thread, so that the service's answers hardly wait for it. Its memory is
free again when it ends. If it fails, the service computes what is missing.
"""

import json
import os
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.errors import TaggerError
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger

_LOWEST = 19


def main() -> None:
    """Reads a JSON object from stdin: `settings`, and `vocabularies` to encode beside the settings' own.
    Writes a line with the number of encoded labels after each part of them. Ends with status 1 if the bundle
    cannot be used."""
    _give_way()
    job = json.load(sys.stdin)
    try:
        tagger = Tagger.from_settings(Settings(**job["settings"]))
        before = 0
        for vocabulary in (*map(Vocabulary.model_validate, job["vocabularies"]), tagger.vocabulary):
            tagger.labels.features(vocabulary, partial(_tell, before))
            before += len(vocabulary.labels)
    except TaggerError as error:
        sys.exit(str(error))


def _tell(before: int, done: int) -> None:
    print(before + done, flush=True)


def _give_way() -> None:
    # Windows has neither.
    with suppress(AttributeError, OSError):
        os.nice(_LOWEST)
    with suppress(OSError):
        # If memory runs out, this process goes and not the service.
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    main()
