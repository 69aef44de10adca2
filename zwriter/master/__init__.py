"""The HDF5/NeXus master file: a function of the store."""

from zwriter.master.layouts.metadata import metadata
from zwriter.master.write import check_mode, may_be_replaced, write_master

__all__ = ["check_mode", "may_be_replaced", "metadata", "write_master"]
