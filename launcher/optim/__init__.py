"""Groups of parameters, and optimizers that no library has."""
