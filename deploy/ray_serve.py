"""The service on Ray Serve, one application in each replica:

    PYTHONPATH=deploy serve run ray_serve:tagger max_replicas=8 num_gpus=0.5

Settings are the variables SIGRL_* of each machine, as everywhere. Replicas share what is registered and which
checkpoint answers through the database: a file on one machine, PostgreSQL (SIGRL_DATABASE_URL) on several.
"""

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from ray import serve

from sigrl.service.app import create_app
from sigrl.service.settings import Settings, load_settings

# More than a replica ever has in hand: it queues and refuses by its own measure, in pixels.
_MOST_IN_HAND = 1000


class Arguments(BaseModel):
    """What can be said after `ray_serve:tagger`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    min_replicas: int = Field(default=1, ge=1)
    """How many there are when nobody asks anything."""
    max_replicas: int = Field(default=2, ge=1)
    """How many there may be."""
    target_ongoing_requests: float = Field(default=8, gt=0)
    """More in hand on the mean replica, and another one is started; fewer, and one is let go. Some full
    batches' worth, so that what waits is work and not a start."""
    upscale_delay_s: float = Field(default=30, ge=0)
    """Seconds that there must be more in hand before another one is started."""
    num_cpus: float = Field(default=1, gt=0)
    """Cores of a replica."""
    num_gpus: float = Field(default=0, ge=0)
    """GPUs of a replica; 0.5 lets two share one."""


class Replica:
    """What a replica of Ray Serve does beside answering."""

    def __serve_build_asgi_app__(self) -> FastAPI:
        settings = load_settings(replica=serve.get_replica_context().replica_id.unique_id)
        self._app = create_app(_behind_proxy(settings))
        return self._app

    def check_health(self) -> None:
        """Asked by Ray every few seconds, which replaces a replica whose worker has died."""
        _ = self._app.state.service.ready_tagger


def tagger(arguments: Arguments) -> serve.Application:
    """The application that `serve run` or a Serve config file names."""
    deployment = serve.deployment(
        serve.ingress()(Replica),
        name="tagger",
        max_ongoing_requests=_MOST_IN_HAND,
        autoscaling_config={
            "min_replicas": arguments.min_replicas,
            "max_replicas": arguments.max_replicas,
            "target_ongoing_requests": arguments.target_ongoing_requests,
            "upscale_delay_s": arguments.upscale_delay_s,
        },
        ray_actor_options={"num_cpus": arguments.num_cpus, "num_gpus": arguments.num_gpus},
        graceful_shutdown_timeout_s=load_settings().shutdown_seconds,
    )
    return deployment.bind()


def _behind_proxy(settings: Settings) -> Settings:
    """All that comes has passed Ray's proxy, whose address a replica does not know: keys are needed unless
    they are switched off."""
    return settings.model_copy(update={"keys": "required"}) if settings.keys == "auto" else settings
