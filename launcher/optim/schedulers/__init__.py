"""Schedules of the learning rate: warm-up around torch's schedulers, and what torch lacks."""
