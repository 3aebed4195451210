"""The models of the catalogue that no library has in this form."""
