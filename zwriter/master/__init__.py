"""The HDF5/NeXus master file: a function of the store."""

from zwriter.master.write import check_mode, write_master

__all__ = ["check_mode", "write_master"]
