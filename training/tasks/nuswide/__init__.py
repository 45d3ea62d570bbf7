"""Open-vocabulary training on NUS-WIDE."""
