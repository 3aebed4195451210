"""How many fits a run is made of, and in which order."""
