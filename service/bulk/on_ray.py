"""A `TagSource` on Ray Data, which tags in many processes on many machines."""

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

# Set before Ray is imported; otherwise its log breaks up our progress display.
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")

import ray
from ray.data import ActorPoolStrategy, DataContext

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.bulk.keyword_paths import KeywordPaths, keyword_paths
from sigrl.service.bulk.tag_sources import Tagged
from sigrl.service.checkpoints.bundles import BundleStore, configured
from sigrl.service.client.failures import of_problem
from sigrl.service.errors import ImageError, ParameterError
from sigrl.service.errors.problem import Problem
from sigrl.service.schemas.tagging import Tagging, VocabularyInfo
from sigrl.service.settings import Settings
from sigrl.service.tagging.selection import Selection
from sigrl.service.tagging.tagger import Tagger
from sigrl.service.vocabularies import builtin as vocabularies

# This many photographs are returned at a time, and are tagged again if their machine is lost.
_BLOCK = 32
# A run is split after this many blocks per worker, so that not all paths are in memory at once. Workers load
# the model again for each part.
_BLOCKS_OF_WORKER = 512
_REACH_SECONDS = 10
Rows = dict[str, Any]


@dataclass(frozen=True)
class WorkerConfig:
    """The configuration of every worker; each worker loads its files from its own machine."""

    settings: Settings
    asked: tuple[Vocabulary, ...]
    selection: Selection


class RaySource:
    """Tags with one worker for each GPU of the cluster, or for each CPU core if there is no GPU."""

    def __init__(
        self, cluster: str, settings: Settings, asked: Sequence[Vocabulary], selection: Selection
    ) -> None:
        """Joins a cluster; `close` leaves it.

        Args:
            cluster: `local` starts one on this machine; `auto` or an address joins a running one.
            settings: used by the workers; its paths must be valid on every machine.
            asked: the vocabularies to tag with; if empty, the one in the settings.
            selection: which labels become tags.

        Raises:
            ParameterError: the cluster does not answer.
            CheckpointNotFoundError: this machine does not have the checkpoint.
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
        # The command line has its own progress bar.
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True

    def close(self) -> None:
        """Leaves the cluster; a local cluster is shut down."""
        ray.shutdown()

    def made_by(self) -> tuple[str, tuple[VocabularyInfo, ...]]:
        """See `TagSource`."""
        return self._checkpoint, tuple(map(VocabularyInfo.of, self._asked))

    def keyword_paths(self, vocabulary: str) -> KeywordPaths:
        """See `TagSource`."""
        (found,) = (each for each in self._asked if each.name == vocabulary)
        return keyword_paths(found, self._config.selection.language(found))

    def tag(self, paths: Iterable[Path]) -> Iterator[Tagged]:
        """See `TagSource`. If a machine is lost, another one tags its photographs."""
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
    """A Ray Data actor with one model."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._tagger = Tagger.from_settings(config.settings)

    def __call__(self, rows: Rows) -> Rows:
        paths = [Path(os.fsdecode(bytes(path))) for path in rows["path"]]
        results = self._tagger.tag_by_each(paths, self._config.asked, self._config.selection)
        return {"outcome": np.array([_as_json(result) for result in results], dtype=object)}


def _reach(cluster: str) -> None:
    """Raises OSError if nothing listens at an address; Ray itself would wait for minutes."""
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
