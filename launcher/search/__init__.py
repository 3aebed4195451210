"""Sweeps: who runs which trial when, and the pools that run them."""
