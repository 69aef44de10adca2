"""Which tree a master file has."""
