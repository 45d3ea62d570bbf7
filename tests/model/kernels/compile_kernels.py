"""Compiles what `triton_launch` would launch on GPUs that are not here, and prints for each kernel: its name,
the compute capability, bytes of shared memory, and how often Hopper's matrix instruction occurs.

A process of its own: Triton either interprets or compiles.
"""

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from sigrl.model.kernels import triton_launch

DEVICES = {
    90: triton_launch._Device(multiprocessors=132, shared_memory=227 * 1024),
    89: triton_launch._Device(multiprocessors=58, shared_memory=99 * 1024),
}
"""H100 and L4."""


class AbsentDriver:
    """As much of a driver as compiling takes."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_device(self) -> int:
        return self.capability

    def get_current_stream(self, _device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)


class Compiled:
    """Stands for a kernel: a launch compiles it."""

    def __init__(self, kernel) -> None:
        self.kernel = kernel

    def __getitem__(self, grid):
        def launch(*arguments, **options) -> None:
            compiled = self.kernel.warmup(*arguments, grid=grid, **options)
            capability = driver.active.get_current_device()
            instructions = compiled.asm["ptx"].count("wgmma.mma_async")
            print(compiled.name, capability, compiled.metadata.shared, instructions)

        return launch


def main() -> None:
    torch.version.cuda = "13.0"
    triton_launch._check = lambda _: None
    triton_launch.decouple_kernel = Compiled(triton_launch.decouple_kernel)
    triton_launch.gate_kernel = Compiled(triton_launch.gate_kernel)
    tokens, queries, weight = torch.empty(8, 196, 512), torch.empty(8, 80, 512), torch.empty(512, 512)
    for capability, device in DEVICES.items():
        driver.set_active(AbsentDriver(capability))
        triton_launch._device = lambda _, device=device: device
        triton_launch.decouple(tokens, queries[0], weight, torch.bfloat16)
        triton_launch.label_gate(tokens, queries, weight, torch.bfloat16)


if __name__ == "__main__":
    main()
