"""Tags by many processes on many machines: a `TagSource` on Ray Data."""

import json
import logging
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

# Before Ray is loaded, or it writes between the lines of our progress.
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")

import ray
from ray.data import ActorPoolStrategy, DataContext

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.bulk.tag_sources import Tagged
from sigrl.service.checkpoints.bundles import BundleStore, configured
from sigrl.service.client.failures import of_problem
from sigrl.service.errors import ImageError, ParameterError, Problem
from sigrl.service.schemas.tagging import Tagging, VocabularyInfo
from sigrl.service.settings import Settings
from sigrl.service.tagging.selection import Selection
from sigrl.service.tagging.tagger import Tagger
from sigrl.service.vocabularies import builtin as vocabularies

# So many come back at a time, and are tagged again if their machine is lost.
_BLOCK = 32
# Workers load the model anew after so many of each, which would otherwise all have to be known at once.
_BLOCKS_OF_WORKER = 512
_REACH_SECONDS = 10
Rows = dict[str, Any]


@dataclass(frozen=True)
class WorkerConfig:
    """What every worker is given; it loads its files from its own machine."""

    settings: Settings
    asked: tuple[Vocabulary, ...]
    selection: Selection


class RaySource:
    """A model in every worker: one on each GPU of the cluster, or where there is none on each core."""

    def __init__(
        self, cluster: str, settings: Settings, asked: Sequence[Vocabulary], selection: Selection
    ) -> None:
        """Joins a cluster, which is left by `close`.

        Args:
            cluster: `local` for one of this machine's cores, `auto` or an address for one that runs.
            settings: of the workers; paths in it must be right on every machine.
            asked: what is looked for; the settings' vocabulary if empty.
            selection: see there.

        Raises:
            ParameterError: there is no such cluster.
            CheckpointNotFoundError: nor such a checkpoint here.
        """
        self._checkpoint = BundleStore.of(settings).find(configured(settings), trusted=True).checkpoint_id
        self._asked = tuple(asked) or (vocabularies.find(settings.vocabulary, settings),)
        self._config = WorkerConfig(settings, self._asked, selection)
        try:
            _reach(cluster)
            ray.init(cluster, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, ValueError) as error:
            raise ParameterError(
                f"no Ray cluster answers at '{cluster}'", "`ray start --head` starts one; or use local"
            ) from error
        # The command line has a bar of its own.
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True

    def close(self) -> None:
        """Leaves the cluster; a local one ends."""
        ray.shutdown()

    def made_by(self) -> tuple[str, tuple[VocabularyInfo, ...]]:
        """See `TagSource`."""
        return self._checkpoint, tuple(map(VocabularyInfo.of, self._asked))

    def tag(self, paths: Iterable[Path]) -> Iterator[Tagged]:
        """See `TagSource`; a machine that is lost has its photographs tagged by another one."""
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        on_gpu = resources.get("GPU", 0) >= 1
        workers = max(1, int(resources.get("GPU" if on_gpu else "CPU", 1)))
        paths = iter(paths)
        while some := list(islice(paths, workers * _BLOCKS_OF_WORKER * _BLOCK)):
            blocks = -(-len(some) // _BLOCK)
            rows = [{"path": os.fsencode(path.absolute())} for path in some]
            tagged = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
                _Worker,
                fn_constructor_args=(self._config,),
                batch_size=_BLOCK,
                compute=ActorPoolStrategy(size=min(workers, blocks)),
                num_cpus=1,
                num_gpus=1 if on_gpu else 0,
            )
            for path, row in zip(some, tagged.iter_rows(), strict=True):
                yield path, _outcome(json.loads(row["outcome"]))


class _Worker:
    """One model, in an actor of Ray Data."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._tagger = Tagger.from_settings(config.settings)

    def __call__(self, rows: Rows) -> Rows:
        paths = [Path(os.fsdecode(bytes(path))) for path in rows["path"]]
        results = self._tagger.tag_by_each(paths, self._config.asked, self._config.selection)
        return {"outcome": np.array([_as_json(result) for result in results], dtype=object)}


def _reach(cluster: str) -> None:
    """Raises OSError where nothing listens at an address, for which Ray would wait some minutes."""
    host, colon, port = cluster.removeprefix("ray://").rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), timeout=_REACH_SECONDS).close()


def _as_json(result: tuple[Tagging, ...] | ImageError) -> str:
    if isinstance(result, ImageError):
        return json.dumps({"problem": result.problem().model_dump(mode="json")})
    return json.dumps({"taggings": [tagging.model_dump(mode="json") for tagging in result]})


def _outcome(told: dict[str, Any]) -> tuple[Tagging, ...] | ImageError:
    if "problem" in told:
        error = of_problem(Problem.model_validate(told["problem"]))
        assert isinstance(error, ImageError)
        return error
    return tuple(Tagging.model_validate(each) for each in told["taggings"])
