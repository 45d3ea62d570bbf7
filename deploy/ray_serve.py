"""The service on Ray Serve, with one application in each replica:

    PYTHONPATH=deploy serve run ray_serve:tagger max_replicas=8 num_gpus=0.5

As everywhere, the settings are the variables SIGRL_* of each machine. Replicas share registered vocabularies
and the active checkpoint through the database: a file on one machine, PostgreSQL (SIGRL_DATABASE_URL) on
several.
"""

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from ray import serve

from sigrl.service.app import create_app
from sigrl.service.settings import Settings, load_settings

# More than a replica ever processes at once, because it limits its queue itself, in pixels.
_MAX_ONGOING_REQUESTS = 1000


class Arguments(BaseModel):
    """The arguments after `ray_serve:tagger`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    min_replicas: int = Field(default=1, ge=1)
    """Number of replicas without load."""
    max_replicas: int = Field(default=2, ge=1)
    """Largest number of replicas."""
    target_ongoing_requests: float = Field(default=8, gt=0)
    """Mean number of requests in progress per replica above which another replica starts, and below which one
    stops. It should be worth several full batches, so that short bursts do not start replicas."""
    upscale_delay_s: float = Field(default=30, ge=0)
    """Seconds for which that number must be exceeded before another replica starts."""
    num_cpus: float = Field(default=1, gt=0)
    """CPU cores per replica."""
    num_gpus: float = Field(default=0, ge=0)
    """GPUs per replica; with 0.5, two replicas share one."""


class Replica:
    """Builds the application in a Ray Serve replica and reports its health."""

    def __serve_build_asgi_app__(self) -> FastAPI:
        settings = load_settings(replica=serve.get_replica_context().replica_id.unique_id)
        self._app = create_app(_behind_proxy(settings))
        return self._app

    def check_health(self) -> None:
        """Called by Ray every few seconds; a replica whose worker has died raises here and is replaced."""
        _ = self._app.state.service.ready_tagger


def tagger(arguments: Arguments) -> serve.Application:
    """Builds the application for `serve run` or a Serve config file."""
    deployment = serve.deployment(
        serve.ingress()(Replica),
        name="tagger",
        max_ongoing_requests=_MAX_ONGOING_REQUESTS,
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
    """All requests come through Ray's proxy, so that a replica cannot tell local clients from others: keys
    are required unless they are switched off."""
    return settings.model_copy(update={"keys": "required"}) if settings.keys == "auto" else settings
