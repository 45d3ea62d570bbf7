"""Many requests share one model: queues, permits and threads."""
