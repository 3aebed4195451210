"""How one step is spread over devices: one file per way."""
