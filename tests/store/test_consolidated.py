from __future__ import annotations

import numpy as np
import zarr

from zwriter.scan import ScanWriter


def test_plain_zarr_sees_the_same_with_and_without_consolidated_metadata(tmp_path):
    path = tmp_path / "scan.zarr"
    with ScanWriter(path, master=None) as writer:
        writer.add("eiger", "image", np.zeros((4, 4)), timestamp=1.0)
        writer.replace("mcs", "name", "a name")
    at_once = zarr.open_group(path, mode="r", use_consolidated=True)
    singly = zarr.open_group(path, mode="r", use_consolidated=False)
    seen = dict(at_once.members(max_depth=None))
    assert at_once.metadata.consolidated_metadata is not None
    assert set(seen) == set(dict(singly.members(max_depth=None)))
    for name, node in singly.members(max_depth=None):
        assert dict(seen[name].attrs) == dict(node.attrs)
        if isinstance(node, zarr.Array):
            assert repr(seen[name].metadata) == repr(node.metadata)  # NaN
    assert seen["entry/collection/devices/eiger/image/value"].shape == (1, 4, 4)
