"""State that the routes of one application share."""

import asyncio

from anyio import to_thread
from starlette.requests import Request

from sigrl.service.batching.threads import RequestThreads
from sigrl.service.checkpoints.following import Follower
from sigrl.service.checkpoints.opening import open_runtime
from sigrl.service.checkpoints.replicas import Replicas, new_id
from sigrl.service.checkpoints.runtime import Runtime
from sigrl.service.checkpoints.watching import Watcher, watch
from sigrl.service.errors import NotReadyError
from sigrl.service.http.idempotency import Answers
from sigrl.service.images.url_input import UrlFetcher
from sigrl.service.serving.async_tagger import AsyncTagger
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger
from sigrl.service.vocabularies.registry import VocabularyRegistry


class ServiceState:
    """The state of one application, stored in `app.state.service`."""

    def __init__(
        self,
        settings: Settings,
        registry: VocabularyRegistry | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        self.settings = settings
        self._runtime = runtime
        self._watcher: Watcher | None = None
        self._follower: Follower | None = None
        self.replica = settings.replica or new_id()
        """The name of this process among those that share the database."""
        self.tagger: AsyncTagger | None = None
        """None until the model has tagged something in this process."""
        self.registry = registry
        """None until the database is open."""
        self.answers = Answers(settings.idempotency_bytes)
        self.fetcher = UrlFetcher(settings) if settings.url_input else None
        """None if the service does not fetch URLs."""
        self.leaving = False
        """Whether the process is shutting down. It still answers, but should receive no new requests."""

    async def start(self, tagger: Tagger | None) -> None:
        """Opens the database unless a registry was given, and loads a checkpoint unless a runtime or
        tagger was given. It then tags a test image, because readiness means that the model answers."""
        if self.registry is None:
            self.registry = await to_thread.run_sync(VocabularyRegistry.open, self.settings)
        runtime = self._runtime
        if runtime is None:
            # The checkpoint is loaded in a temporary thread, so that PyTorch's helper threads end with it.
            threads, loop = RequestThreads(1, "sigrl-start"), asyncio.get_running_loop()
            runtime = await loop.run_in_executor(threads, open_runtime, self.settings, self.registry, tagger)
        starting = AsyncTagger(runtime, self.settings)
        await starting.start()
        self.tagger = starting
        self._watcher = watch(runtime)
        self._follower = Follower(runtime, self.replicas)
        self._follower.start()

    @property
    def ready_tagger(self) -> AsyncTagger:
        """The tagger. Raises NotReadyError until the model has answered."""
        if self.tagger is None:
            raise NotReadyError("the model has not answered yet", "try again in a few seconds")
        return self.tagger

    @property
    def vocabularies(self) -> VocabularyRegistry:
        """The registry. Raises NotReadyError until the database is open."""
        if self.registry is None:
            raise NotReadyError("the database is not open yet", "try again in a few seconds")
        return self.registry

    async def refuse(self) -> None:
        """Answers unfinished requests with NotReadyError, because the time for the shutdown is over."""
        if self.tagger is not None:
            await self.tagger.close(0)

    @property
    def replicas(self) -> Replicas:
        """The replicas that share the database. Raises NotReadyError until the database is open."""
        return Replicas(self.vocabularies.database, self.replica)

    async def stop(self) -> None:
        """Stops accepting requests, finishes those already begun, and closes the database."""
        if self._watcher is not None:
            self._watcher.stop()
        if self._follower is not None:
            await to_thread.run_sync(self._follower.stop)
        tagger, self.tagger = self.tagger, None
        if tagger is not None:
            await tagger.close(self.settings.shutdown_seconds)
        if self.registry is not None:
            await to_thread.run_sync(self.registry.close)


async def service_state(request: Request) -> ServiceState:
    """The state of the application that received the request."""
    state: ServiceState = request.app.state.service
    return state
