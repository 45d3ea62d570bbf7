"""The protocol between the training loop and a task, and the settings that all tasks share."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from accelerate import Accelerator
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Dataset

from sigrl.model.config import Frozen


class LoopConfig(Frozen):
    """How any task is trained."""

    epochs: int = Field(20, ge=1)
    batch_size: int = Field(32, ge=1)
    """Photographs per step, over all processes; the result does not depend on the number of processes."""
    passes: int = Field(1, ge=1)
    """Number of parts in which each process computes its share of a step, to save memory (accumulation)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """`bfloat16`: matrix products in half precision; weights and their updates stay float32."""
    checkpointing: bool = False
    """Recompute the image tower's activations in the backward pass: less memory, about a third more time."""
    clip_norm: float | None = Field(None, gt=0)
    """Maximum norm of the gradient over all parameters."""
    averaging: float | None = Field(None, gt=0, lt=1)
    """Decay of the weights' moving average (EMA), which is evaluated and saved instead of the weights."""
    patience: int | None = Field(None, ge=1)
    """Stop after this many epochs without a better evaluation."""
    save_every: int = Field(500, ge=1)
    """Steps between two saves of the state; it is also saved after each epoch."""
    log_every: int = Field(50, ge=1)
    """Steps between two lines of `metrics.jsonl`."""
    tensorboard: bool = False
    """Also write TensorBoard files, into the run's directory."""
    workers: int = Field(4, ge=0)
    """Processes that read photographs, per training process."""
    seed: int = Field(0, ge=0)


class StepOutput(NamedTuple):
    """A task's output for a batch."""

    loss: Tensor
    """[], a mean over the batch's photographs."""
    parts: dict[str, Tensor]
    """Numbers to log beside the loss, [] each."""


class Schedule(Protocol):
    """The learning rate by position."""

    def apply(self, optimizer: Optimizer, position: float) -> float:
        """Sets the rate of every group at a position in epochs; returns the rate itself."""
        ...


class Task(Protocol):
    """What the loop needs from what it trains."""

    @property
    def module(self) -> nn.Module:
        """The module to train; one call serves one batch."""
        ...

    @property
    def schedule(self) -> Schedule: ...

    @property
    def train_data(self) -> Dataset[Any]:
        """The training data set, which is indexed by `Draw`."""
        ...

    @property
    def measure(self) -> str:
        """The name of the number in `evaluate` that is best when highest."""
        ...

    def optimizer(self) -> Optimizer:
        """The optimizer over the parameters of `module`, which are on their device; called once."""
        ...

    def training_step(self, module: nn.Module, batch: Any) -> StepOutput:
        """The loss of a batch. `module` is the task's own, wrapped for several processes; `batch` is on its
        device."""
        ...

    def evaluate(self, accelerator: Accelerator) -> dict[str, float]:
        """Measurements, the same in every process. If there are none, the last epoch counts as the best."""
        ...


@runtime_checkable
class EpochTask(Protocol):
    """Optional methods of a `Task`: knowledge of the epoch, and tensors of its own that change between
    epochs, such as pseudo-labels. These tensors are part of the run's state and survive a kill, as weights
    do."""

    def open_epoch(self, epoch: int) -> None:
        """Called before the first step of an epoch, counted from 0, and before the first step after a
        resume."""
        ...

    def close_epoch(self, epoch: int, accelerator: Accelerator) -> None:
        """Called once after the last step of an epoch, in every process, before the evaluation. The module is
        in evaluation mode without gradients, with the averaged weights if there are any."""
        ...

    def state(self) -> Mapping[str, Tensor]:
        """All tensors that `close_epoch` changes, the same in every process."""
        ...

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Loads the result of `state`; the tensors are on the CPU."""
        ...
