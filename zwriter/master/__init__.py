"""The HDF5/NeXus master file: a function of the store."""

from zwriter.master.write import write_master

__all__ = ["write_master"]
