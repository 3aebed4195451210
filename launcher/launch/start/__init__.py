"""When a run begins: at once, or in a window that is better."""
