"""Every message of the wire, made by the real bec-lib; runs in an environment that has it.

`cases` is shared with the tests: `make(type, metadata, **fields)` builds a message there or here.
"""

import sys

import numpy as np

NUMBERS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "F", "D")
READING = {"value": 1.5, "timestamp": 1763800000.25}
ARRAYS = {
    "bool": np.array([True, False]),
    **{kind: np.arange(6).astype(kind).reshape(2, 3) for kind in NUMBERS},
    "big-endian": np.arange(3, dtype=">i4"),
    "bytes": np.array([b"one", b"three"]),
    "text": np.array(["eins", "zwölf", "日本"]),
    "no axes": np.array(7, "u2"),
    "no items": np.zeros((0, 3), "f4"),
    "not contiguous": np.arange(12).reshape(3, 4)[::2, 1:].T,
    "structured": np.array([(1, 2.5, b"x")], [("a", "<i4"), ("b", "<f8"), ("c", "S3")]),
    "nested": np.zeros(2, [("at", [("x", "<f4"), ("y", "<f4")]), ("m", "<u2", (2, 2))]),
}
SCALARS = {
    "np.bool": np.True_,
    **{kind: np.dtype(kind).type(3) for kind in NUMBERS},
    "complex": 1 - 2.5j,
    "nan": float("nan"),
    "text": "zwölf",
    "bytes": b"\x00\xff",
    "none": None,
    "big": 2**64 - 1,
    "tuple": (1, (2, 3)),
    "set": {5},
    "maps": {"a": {"b": [{}, []]}},
}


def _status(make, state):
    return make(
        "ScanStatusMessage",
        {},
        scan_id="11111111-2222",
        status=state,
        reason="user" if state == "aborted" else None,
        scan_number=7,
        session_id=None,
        num_points=2,
        num_monitored_readouts=2,
        scan_name="line_scan",
        scan_type="software_triggered",
        dataset_number=3,
        scan_report_devices=["samx"],
        user_metadata={"sample": "Au"},
        readout_priority={"monitored": ["samx"], "baseline": [], "async": ["eiger"]},
        scan_parameters={"exp_time": 0.1, "system_config": {"file_suffix": None}},
        request_inputs={"arg_bundle": ["samx", -1, 1], "inputs": {}, "kwargs": {"steps": 2}},
        info={"positions": np.zeros((2, 1)), "file_components": ("/data/S1", "h5")},
        timestamp=1763800000.5,
    )


def _point(make, number):
    data = {"samx": {"samx": READING}, "bpm": {"bpm": {"value": np.uint32(5), "timestamp": 1.0}}}
    return make("ScanMessage", {"scan_id": "s"}, point_id=number, scan_id="s", data=data)


def _device(make, value, async_update):
    metadata = {"async_update": async_update, "async_indices": {"eiger_image": 4}}
    signals = {"eiger_image": {"value": value, "timestamp": 1.0}}
    return make("DeviceMessage", metadata, signals=signals)


def _index(make):
    return make(
        "DeviceAsyncSignalIndexMessage",
        {},
        scan_id="s",
        device="eiger",
        signal="eiger_image",
        shapes={"eiger_image": [2, 3]},
        indices={"eiger_image": 4},
        async_update={"type": "add", "max_shape": [None, 2, 3], "index": None},
    )


def _deployment(make):
    scope = {"enabled": True, "default": None}
    return make(
        "DeploymentInfoMessage",
        {},
        deployment_id="d1",
        name="x12sa",
        active_session=None,
        messaging_config={name: dict(scope) for name in ("signal", "teams", "scilog")},
        messaging_services=[],
    )


def _history(make):
    return make(
        "ScanHistoryMessage",
        {},
        scan_id="s",
        scan_number=7,
        dataset_number=3,
        file_path="/data/S1_master.h5",
        exit_status="closed",
        reason=None,
        start_time=1.5,
        end_time=2.5,
        scan_name="line_scan",
        num_points=2,
        num_monitored_readouts=2,
        request_inputs={"arg_bundle": ["samx", -1, 1]},
        stored_data_info={"samx": {"samx": {"shape": (2,), "dtype": "float64"}}},
    )


def _file(make, name):
    return make(
        "FileMessage",
        {},
        file_path="/data/eiger.h5",
        done=True,
        successful=False,
        is_master_file=False,
        device_name=name,
        file_type="h5",
        hinted_h5_entries={"data": "/entry/data"},
    )


def _alarm(make):
    info = {
        "id": "a1",
        "error_message": "the image is too wide",
        "compact_error_message": None,
        "exception_type": "BadUpdate",
        "device": "eiger",
    }
    return make("AlarmMessage", {"scan_id": "s"}, severity=1, info=info)


def cases(make, running):
    """name -> message; `running` is BECStatus.RUNNING of the one who asks."""
    slices = {"type": "add_slice", "max_shape": [None, 3], "index": 4}
    states = [{"name": "shutter", "state_type": "ShutterState", "parameters": {"device": "sh"}}]
    return {
        **{f"array {k}": make("VariableMessage", {}, value=v) for k, v in ARRAYS.items()},
        **{f"scalar {k}": make("VariableMessage", {}, value=v) for k, v in SCALARS.items()},
        **{f"scan {state}": _status(make, state) for state in ("open", "paused", "aborted")},
        "enum": make("VariableMessage", {}, value=running),
        "message in a message": make("VariableMessage", {}, value=_point(make, 1)),
        "segments": make("BundleMessage", {}, messages=[_point(make, 0), _point(make, 1)]),
        "bundle in a bundle": make(
            "BundleMessage", {}, messages=[make("BundleMessage", {}, messages=[_point(make, 3)])]
        ),
        "point": _point(make, 0),
        "baseline": make("ScanBaselineMessage", {}, scan_id="s", data={"samy": {"samy": READING}}),
        "add": _device(make, ARRAYS["u2"], {"type": "add", "max_shape": [None, 2, 3]}),
        "add_slice": _device(make, [1.0, 2.0], slices),
        "replace": _device(make, {"peaks": 3}, {"type": "replace"}),
        "configuration": make("DeviceMessage", {}, signals={"samx_velocity": READING}),
        "index": _index(make),
        "device info": make("DeviceInfoMessage", {}, device="samx", info={"signals": {}}),
        "devices": make("AvailableResourceMessage", {}, resource=[{"name": "samx"}]),
        "devices changed": make("DeviceConfigMessage", {}, action="update", config={"samx": {}}),
        "file": _file(make, "eiger"),
        "file of several": _file(make, ["eiger", "falcon"]),
        "states": make("AvailableBeamlineStatesMessage", {}, states=states),
        "state": make(
            "BeamlineStateMessage", {}, name="shutter", status="valid", label="open", timestamp=1.0
        ),
        "account": make("VariableMessage", {}, value="p12345"),
        "deployment": _deployment(make),
        "copy": make(
            "StorageCopyRequestMessage", {}, source_file="/data/a", scope="raw", subdir=None
        ),
        "history": _history(make),
        "content": make(
            "FileContentMessage", {}, file_path="/data/a", data={"x": 1}, scan_info={"y": 2}
        ),
        "alarm": _alarm(make),
        "service": make(
            "StatusMessage", {}, name="FileWriterManager", status=running, info={"pid": 1}
        ),
    }


def main():
    """From stdin: name -> bytes that zwriter made. To stdout: name -> [bec_lib's, what it read]."""
    import msgpack
    from bec_lib import messages
    from bec_lib.serialization import MsgpackSerialization
    from bec_lib.serialization import msgpack as bec

    def make(kind, metadata, **fields):
        return getattr(messages, kind)(metadata=metadata, **fields)

    theirs = msgpack.unpackb(sys.stdin.buffer.read())
    answer = {}
    for name, message in cases(make, messages.BECStatus.RUNNING).items():
        read = bec.loads(theirs[name])
        MsgpackSerialization.loads(theirs[name])  # what BEC's services call: validates bundles too
        answer[name] = [bec.dumps(message), bec.dumps(read)]
    sys.stdout.buffer.write(msgpack.packb(answer))


if __name__ == "__main__":
    main()
