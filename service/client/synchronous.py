"""The client for programs that wait for each answer."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from time import sleep
from typing import Self, Unpack

import httpx

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.client import requests
from sigrl.service.client.connection import (
    AT_ONCE,
    LOCAL,
    RETRIES,
    TIMEOUT_SECONDS,
    content,
    pause,
    settings,
)
from sigrl.service.client.failures import failure
from sigrl.service.client.photographs import Batch, Result, Source, batches, read
from sigrl.service.client.requests import Request, StoredSummary, StoredVocabulary, T, Wanted
from sigrl.service.client.retrying import Attempts
from sigrl.service.errors import RequestTooLargeError, TaggerError
from sigrl.service.schemas.calibration import CalibrationGoal, CalibrationReport
from sigrl.service.schemas.checkpoints import CheckpointInfo, CheckpointList
from sigrl.service.schemas.embeddings import EmbeddingsAnswer
from sigrl.service.schemas.feedback import FeedbackAnswer
from sigrl.service.schemas.tagging import Explanation
from sigrl.service.schemas.tags import TagAnswer
from sigrl.service.schemas.vocabularies import VocabularyDocument, VocabularySummary
from sigrl.service.tagging.selection import Thresholds


class Client:
    """A server. To be closed, or used as a context manager.

    Errors are those of `sigrl.service.errors`, as the server meant them; ServerError where it cannot be reached.
    What fails on the way there, and 429 and 503, is tried again a few times, after as long as Retry-After
    says; only where it does no harm if it was done already.
    """

    def __init__(
        self,
        server: str = LOCAL,
        api_key: str | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
        retries: int = RETRIES,
    ) -> None:
        """Opens no connection yet.

        Args:
            server: address of the service.
            api_key: the environment variable SIGRL_API_KEY if not given; empty for none.
            timeout: seconds without a byte from the server, or to connect.
            retries: how often a request is sent again.

        Raises:
            ParameterError: the key cannot be sent.
            ServerError: the address is none.
        """
        self._server, self._retries = server, retries
        self._http = httpx.Client(**settings(server, api_key, timeout))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def tag(
        self,
        photographs: Source | Sequence[Source],
        labels: Sequence[str] | None = None,
        *,
        vocabulary: str | None = None,
        top_k: int | None = None,
        **thresholds: Unpack[Thresholds],
    ) -> TagAnswer:
        """Tags one photograph or several in one request. Of a single one its error is raised, of several it
        stands in the answer. Parameters as for POST /v1/tag."""
        wanted = Wanted(labels, () if vocabulary is None else (vocabulary,), top_k, thresholds)
        several = [photographs] if isinstance(photographs, Source) else photographs
        uploads = [read(each) for each in several]
        return self._send(requests.tag(uploads, wanted))

    def tag_many(
        self,
        photographs: Iterable[Source],
        labels: Sequence[str] | None = None,
        *,
        vocabularies: Sequence[str] = (),
        top_k: int | None = None,
        at_once: int = AT_ONCE,
        **thresholds: Unpack[Thresholds],
    ) -> Iterator[Result]:
        """Tags any number of photographs, and gives each as soon as it is tagged, whatever the order.

        `photographs` is read as needed, `at_once` of them go into a request. One that cannot be tagged gives
        its error in its result. After a cut connection those without a result are sent again.
        """
        wanted = Wanted(labels, vocabularies, top_k, thresholds)
        for batch in batches(photographs, at_once):
            yield from self._tag_batch(batch, wanted)

    def _tag_batch(self, batch: Batch, wanted: Wanted) -> Iterator[Result]:
        for result in batch.refused:
            yield result
        attempts = Attempts(self._retries, repeatable=True)
        while batch.waiting:
            request = requests.tag_lines(batch.uploads(), wanted)
            try:
                with self._http.stream(request.method, request.path, **request.arguments) as response:
                    if not response.is_success:
                        response.read()
                        raise failure(response)
                    for text in response.iter_lines():
                        yield batch.take(requests.line(text))
                        attempts.progress()
                batch.check_complete()
            except RequestTooLargeError as error:
                for result in batch.too_large(error):
                    yield result
            except (httpx.HTTPError, TaggerError) as error:
                sleep(pause(attempts, error, self._server))

    def explain(
        self,
        photograph: Source,
        labels: Sequence[str] | None = None,
        *,
        vocabulary: str | None = None,
        top_k: int | None = None,
    ) -> Explanation:
        """Says where on a photograph labels are seen. Parameters as for POST /v1/explain."""
        wanted = Wanted(labels, () if vocabulary is None else (vocabulary,), top_k)
        return self._send(requests.explain(read(photograph), wanted))

    def embed_photographs(self, photographs: Sequence[Source]) -> EmbeddingsAnswer:
        """Vectors of photographs."""
        uploads = [read(each) for each in photographs]
        return self._send(requests.embed_photographs(uploads))

    def embed_labels(self, labels: Sequence[str]) -> EmbeddingsAnswer:
        """Vectors of at most 1,000 labels."""
        return self._send(requests.embed_labels(labels))

    def list_vocabularies(self) -> Iterator[VocabularySummary]:
        """All vocabularies in their newest versions: those that ship with sigrl, then the others by name."""
        after: str | None = ""
        while after is not None:
            page = self._send(requests.list_vocabularies(after))
            yield from page.vocabularies
            after = page.vocabularies[-1].name if page.next else None

    def get_vocabulary(self, name: str, version: int | None = None) -> StoredVocabulary:
        """A vocabulary with its labels, in its newest version if none is given."""
        return self._send(requests.get_vocabulary(name, version))

    def put_vocabulary(
        self,
        name: str,
        labels: Sequence[str] | Vocabulary | VocabularyDocument,
        *,
        if_match: str | None = None,
        new: bool = False,
    ) -> StoredSummary:
        """Registers a vocabulary, or makes a new version of it. Raises PreconditionError where `if_match` is
        not the ETag of what is there, or `new` is given and there is one."""
        return self._send(requests.put_vocabulary(name, labels, if_match, new))

    def delete_vocabulary(self, name: str, *, if_match: str | None = None) -> None:
        """Forgets a vocabulary with all its versions."""
        self._send(requests.delete_vocabulary(name, if_match))

    def calibrate(
        self,
        name: str,
        examples: Iterable[tuple[Source, Mapping[str, bool]]] = (),
        goal: CalibrationGoal | None = None,
        *,
        replace: bool = False,
    ) -> CalibrationReport:
        """Fits a vocabulary to photographs of which is known, by the label, whether it holds; for the best F1
        if no goal is given. All in one request, and added to those that the server has."""
        uploads = [(read(source), shown) for source, shown in examples]
        return self._send(requests.calibrate(name, uploads, goal or CalibrationGoal(), replace))

    def give_feedback(
        self, photograph: Source, *, right: Sequence[str] = (), wrong: Sequence[str] = ()
    ) -> FeedbackAnswer:
        """Says which tags of a photograph hold, and which do not."""
        upload = read(photograph)
        return self._send(requests.give_feedback(upload, right, wrong))

    def list_checkpoints(self) -> CheckpointList:
        """What answers, and what could."""
        return self._send(requests.list_checkpoints())

    def get_checkpoint(self, checkpoint: str) -> CheckpointInfo:
        """A checkpoint as it stands, by its id."""
        return self._send(requests.get_checkpoint(checkpoint))

    def load_checkpoint(self, bundle: str) -> CheckpointInfo:
        """Begins to load a bundle; `get_checkpoint` tells how far it is."""
        return self._send(requests.load_checkpoint(bundle))

    def activate_checkpoint(self, checkpoint: str, *, force: bool = False) -> CheckpointInfo:
        """Makes a checkpoint the one that answers; with `force` whatever the limits of drift say, where
        DriftError is raised else."""
        return self._send(requests.activate_checkpoint(checkpoint, force))

    def roll_back(self) -> CheckpointInfo:
        """Brings the checkpoint back that answered before."""
        return self._send(requests.roll_back())

    def _send(self, request: Request[T]) -> T:
        attempts = Attempts(self._retries, repeatable=request.repeatable)
        while True:
            try:
                response = self._http.request(request.method, request.path, **request.arguments)
                return content(request, response)
            except (httpx.HTTPError, TaggerError) as error:
                sleep(pause(attempts, error, self._server))
