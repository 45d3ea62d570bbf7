import pytest

from training.optim import half_cosine


def test_half_cosine_warms_up_and_ends_at_zero() -> None:
    factor = half_cosine(warm_up=10, total=100)
    values = [factor(step) for step in range(101)]
    assert values[0] == pytest.approx(0.1)
    assert max(values) == max(values[8:12])
    assert values[9:] == sorted(values[9:], reverse=True)
    assert values[100] == pytest.approx(0)
    assert factor(200) == pytest.approx(0)
    assert factor(50) == pytest.approx(0.5)


def test_a_run_shorter_than_the_warm_up_stays_below_the_full_rate() -> None:
    factor = half_cosine(warm_up=50, total=6)
    assert all(0 <= factor(step) <= 6 / 50 for step in range(7))
