"""The client for programs without an event loop."""

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
from sigrl.service.schemas.suggesting import SUGGESTED, Candidate, CandidatesAnswer, Suggestion
from sigrl.service.schemas.tagging import Explanation
from sigrl.service.schemas.tags import TagAnswer
from sigrl.service.schemas.vocabularies import VocabularyDocument, VocabularySummary
from sigrl.service.tagging.selection import Thresholds


class Client:
    """A connection to a server. Use it as a context manager, or call `close`.

    Methods raise the error of `sigrl.service.errors` that the server reports, and ServerError if the server
    cannot be reached. Connection failures and the statuses 429 and 503 are retried a few times, after the
    pause that Retry-After asks for, unless repeating the request could do harm.
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
            server: URL of the service.
            api_key: the API key; by default the environment variable SIGRL_API_KEY. Empty for no key.
            timeout: seconds to connect, or to wait for the next byte from the server.
            retries: how many times a failed request is sent again.

        Raises:
            ParameterError: the key cannot be sent in a header.
            ServerError: the address is not a URL.
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
        language: str | None = None,
        **thresholds: Unpack[Thresholds],
    ) -> TagAnswer:
        """Tags one or several photographs in one request. If a single photograph fails, its error is raised;
        among several, it is part of the response. The parameters are those of POST /v1/tag."""
        wanted = Wanted(labels, () if vocabulary is None else (vocabulary,), top_k, thresholds, language)
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
        language: str | None = None,
        at_once: int = AT_ONCE,
        **thresholds: Unpack[Thresholds],
    ) -> Iterator[Result]:
        """Tags any number of photographs and yields each result as soon as it is there, in any order.

        `photographs` is consumed lazily; a request has `at_once` of them. If a photograph cannot be tagged,
        its result is the error. If the connection breaks, photographs without a result are sent again.
        """
        wanted = Wanted(labels, vocabularies, top_k, thresholds, language)
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
        language: str | None = None,
    ) -> Explanation:
        """Maps where in a photograph labels are seen. The parameters are those of POST /v1/explain."""
        wanted = Wanted(labels, () if vocabulary is None else (vocabulary,), top_k, language=language)
        return self._send(requests.explain(read(photograph), wanted))

    def embed_photographs(self, photographs: Sequence[Source]) -> EmbeddingsAnswer:
        """Embeds photographs."""
        uploads = [read(each) for each in photographs]
        return self._send(requests.embed_photographs(uploads))

    def embed_labels(self, labels: Sequence[str]) -> EmbeddingsAnswer:
        """Embeds up to 1,000 labels."""
        return self._send(requests.embed_labels(labels))

    def list_vocabularies(self) -> Iterator[VocabularySummary]:
        """Lists the newest version of every vocabulary: first the built-in ones, then the others by name."""
        after: str | None = ""
        while after is not None:
            page = self._send(requests.list_vocabularies(after))
            yield from page.vocabularies
            after = page.vocabularies[-1].name if page.next else None

    def get_vocabulary(self, name: str, version: int | None = None) -> StoredVocabulary:
        """Returns a vocabulary with its labels; the newest version by default."""
        return self._send(requests.get_vocabulary(name, version))

    def put_vocabulary(
        self,
        name: str,
        labels: Sequence[str] | Vocabulary | VocabularyDocument,
        *,
        if_match: str | None = None,
        new: bool = False,
    ) -> StoredSummary:
        """Registers a vocabulary or a new version of it. Raises PreconditionError if `if_match` is not the
        ETag of the stored version, or if `new` is set and the name is taken."""
        return self._send(requests.put_vocabulary(name, labels, if_match, new))

    def delete_vocabulary(self, name: str, *, if_match: str | None = None) -> None:
        """Deletes a vocabulary and all its versions."""
        self._send(requests.delete_vocabulary(name, if_match))

    def calibrate(
        self,
        name: str,
        examples: Iterable[tuple[Source, Mapping[str, bool]]] = (),
        goal: CalibrationGoal | None = None,
        *,
        replace: bool = False,
    ) -> CalibrationReport:
        """Calibrates a vocabulary with labelled photographs, each with a mapping from labels to whether they
        apply. All are sent in one request and added to the examples on the server, unless `replace` is set.
        The default goal is the best F1."""
        uploads = [(read(source), shown) for source, shown in examples]
        return self._send(requests.calibrate(name, uploads, goal or CalibrationGoal(), replace))

    def weigh(self, name: str, photographs: Sequence[Source]) -> CandidatesAnswer:
        """Weighs photographs that could be labelled for a vocabulary, for `suggest`."""
        return self._send(requests.weigh(name, [read(each) for each in photographs]))

    def suggest(self, name: str, candidates: Sequence[Candidate], count: int = SUGGESTED) -> Suggestion:
        """Chooses the candidates whose labels teach a vocabulary most, in the order to label them."""
        return self._send(requests.suggest(name, candidates, count))

    def preview(self, photograph: Source) -> bytes:
        """Returns a photograph as the server decodes it: an upright JPEG, at most 1024 pixels a side."""
        return self._send(requests.preview(read(photograph)))

    def give_feedback(
        self, photograph: Source, *, right: Sequence[str] = (), wrong: Sequence[str] = ()
    ) -> FeedbackAnswer:
        """Reports which tags of a photograph are right and which are wrong."""
        upload = read(photograph)
        return self._send(requests.give_feedback(upload, right, wrong))

    def list_checkpoints(self) -> CheckpointList:
        """Lists the active checkpoint and those that could replace it."""
        return self._send(requests.list_checkpoints())

    def get_checkpoint(self, checkpoint: str) -> CheckpointInfo:
        """Returns the current state of the checkpoint with this id."""
        return self._send(requests.get_checkpoint(checkpoint))

    def load_checkpoint(self, bundle: str) -> CheckpointInfo:
        """Starts to load a bundle; `get_checkpoint` reports the progress."""
        return self._send(requests.load_checkpoint(bundle))

    def activate_checkpoint(self, checkpoint: str, *, force: bool = False) -> CheckpointInfo:
        """Activates a checkpoint. Raises DriftError if it exceeds the drift limits, unless `force` is set."""
        return self._send(requests.activate_checkpoint(checkpoint, force))

    def roll_back(self) -> CheckpointInfo:
        """Reactivates the previously active checkpoint."""
        return self._send(requests.roll_back())

    def _send(self, request: Request[T]) -> T:
        attempts = Attempts(self._retries, repeatable=request.repeatable)
        while True:
            try:
                response = self._http.request(request.method, request.path, **request.arguments)
                return content(request, response)
            except (httpx.HTTPError, TaggerError) as error:
                sleep(pause(attempts, error, self._server))
