"""What the training loop knows of what it trains: a protocol, and the settings that all tasks share."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from accelerate import Accelerator
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Dataset

from sigrl.model.config import Frozen


class LoopConfig(Frozen):
    """How a task is trained, whichever it is."""

    epochs: int = Field(20, ge=1)
    batch_size: int = Field(32, ge=1)
    """Photographs of a step, over all processes: the result does not depend on how many there are."""
    passes: int = Field(1, ge=1)
    """Parts in which each process computes its share of a step, where memory is short (accumulation)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """`bfloat16`: matrix products in half precision; weights and their updates stay float32."""
    checkpointing: bool = False
    """Recompute the image tower's activations in the backward pass: less memory, about a third more time."""
    clip_norm: float | None = Field(None, gt=0)
    """Longest gradient, over all parameters."""
    averaging: float | None = Field(None, gt=0, lt=1)
    """Decay of the weights' moving average (EMA), which is evaluated and kept in their place."""
    patience: int | None = Field(None, ge=1)
    """Stop after so many epochs without a better evaluation."""
    save_every: int = Field(500, ge=1)
    """Steps after which the state is saved; it is also saved after each epoch."""
    log_every: int = Field(50, ge=1)
    """Steps between two lines of `metrics.jsonl`."""
    tensorboard: bool = False
    """Write for TensorBoard too, into the run's directory."""
    workers: int = Field(4, ge=0)
    """Processes that read photographs, for each process that trains."""
    seed: int = Field(0, ge=0)


class StepOutput(NamedTuple):
    """What a task makes of a batch."""

    loss: Tensor
    """[]: a mean over the batch's photographs."""
    parts: dict[str, Tensor]
    """Numbers to log beside it, [] each."""


class Schedule(Protocol):
    """The learning rate by position."""

    def apply(self, optimizer: Optimizer, position: float) -> float:
        """Sets the rate of every group at a position in epochs; returns the rate itself."""
        ...


class Task(Protocol):
    """All that the loop knows of what it trains."""

    @property
    def module(self) -> nn.Module:
        """What is trained; one call of it serves one batch."""
        ...

    @property
    def schedule(self) -> Schedule: ...

    @property
    def train_data(self) -> Dataset[Any]:
        """Asked for by `Draw`."""
        ...

    @property
    def measure(self) -> str:
        """The name of the number that is best when highest, among those of `evaluate`."""
        ...

    def optimizer(self) -> Optimizer:
        """Made once, over the parameters of `module`, which are then on their device."""
        ...

    def training_step(self, module: nn.Module, batch: Any) -> StepOutput:
        """`module` is the task's own, wrapped for several processes; `batch` is on its device."""
        ...

    def evaluate(self, accelerator: Accelerator) -> dict[str, float]:
        """The same numbers in every process. None at all: the last epoch counts as the best."""
        ...


@runtime_checkable
class EpochTask(Protocol):
    """What a task may have beside `Task`: knowledge of the epoch, and tensors of its own that change between
    epochs, as guesses at labels do. They are part of the run's state and outlive a kill as weights do."""

    def open_epoch(self, epoch: int) -> None:
        """Called before the first step of an epoch, counted from 0, and before the first after a resume."""
        ...

    def close_epoch(self, epoch: int, accelerator: Accelerator) -> None:
        """Called once after the last step of an epoch, in every process, before it is evaluated; the module
        is in evaluation mode, with the averaged weights where there are some, and without gradients."""
        ...

    def state(self) -> Mapping[str, Tensor]:
        """All that `close_epoch` changes, the same in every process."""
        ...

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes back what `state` gave; the tensors are on the CPU."""
        ...
