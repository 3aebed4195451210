"""Where a run's numbers go: metrics.jsonl always, and the trackers that were asked for."""
