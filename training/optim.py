"""Learning-rate schedules."""

import math
from collections.abc import Callable


def half_cosine(warm_up: int, total: int) -> Callable[[int], float]:
    """Factor by step: linear warm-up, then half a cosine down to zero."""

    def factor(step: int) -> float:
        return min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))

    return factor
