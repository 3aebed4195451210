"""How a step is made."""
