"""TorchServe's front end, mended where an answer that cannot be sent would end a worker for good, and
where a request waits for others that are not there.

The thread that serves a worker also sends its answers. Where a gRPC caller goes in just that moment,
because its deadline ends or it cancels, sending throws; so does sending the error in its place, and the
thread ends without what starts the worker anew: its process is gone, and TorchServe goes on saying
READY. There is no setting for this. So `bertserve serve` writes the few classes that send answers once
more, with a `catch` around each method that sends: what nobody can receive is dropped, and the worker
goes on.

And a request that comes alone waits for `maxBatchDelay`, of which the least is a millisecond: 0 gives
batches of two at most, whatever waits. Here it is waited for a millisecond less than that, so that 1
takes all that are there, and waits for nobody.

The classes are made from the installed release at each start; TorchServe finds them because it looks
into the folder that it runs in before it looks into its own archive.
"""

from __future__ import annotations

import importlib.util
import shutil
import struct
import zipfile
from pathlib import Path

from ...errors import ServerError
from .class_files import FIELD, INTERFACE_METHOD, METHOD, ClassFile

_ROOT = "org/pytorch/serve"
_LOGGER = "Lorg/slf4j/Logger;"
_SEND = ("response", "([BLjava/lang/CharSequence;ILjava/lang/String;Ljava/util/Map;)V")
_SEND_ERROR = ("sendError", "(ILjava/lang/String;)V")
_SEND_ERRORS = (
    "sendError",
    "(Lorg/pytorch/serve/util/messages/BaseModelRequest;Ljava/lang/String;I)V",
)
_STATUS = 500
# operations of Java's byte code; those without an operand are bytes
_GETSTATIC, _INVOKEVIRTUAL, _INVOKESTATIC, _INVOKEINTERFACE = 0xB2, 0xB6, 0xB8, 0xB9
_LDC_W, _SIPUSH = 0x13, 0x11
_ALOAD_0, _ALOAD_3, _SWAP, _RETURN, _ARETURN = b"\x2a", b"\x2d", b"\x5f", b"\xb1", b"\xb0"
_LLOAD, _LLOAD_1, _LCONST_0, _LCONST_1 = b"\x16", b"\x1f", b"\x09", b"\x0a"
_LSUB, _LCMP, _IFGE, _IFGT = b"\x65", b"\x94", b"\x9c", b"\x9d"
_QUEUE = "java/util/concurrent/LinkedBlockingDeque"
_UNIT = "java/util/concurrent/TimeUnit"
_LEFT = b"\x06"  # the variable with the milliseconds that are left to wait


def mend(directory: Path) -> None:
    """Write the mended classes into the folder that TorchServe runs in; ServerError where they differ."""
    shutil.rmtree(directory / _ROOT.partition("/")[0], ignore_errors=True)
    try:
        with zipfile.ZipFile(_archive()) as archive:
            for name, content in _mended(archive).items():
                target = directory / f"{name}.class"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
    except (OSError, zipfile.BadZipFile, LookupError, ValueError) as error:
        raise ServerError(
            f"the installed TorchServe is not the release that bertserve knows ({error}); "
            "install torchserve==0.12.0"
        ) from error


def _archive() -> Path:
    found = importlib.util.find_spec("ts")
    if found is None or not found.origin:
        raise LookupError("it is missing")
    return Path(found.origin).parent / "frontend" / "model-server.jar"


def _mended(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """Name → content of each class that is mended."""

    def read(name: str) -> ClassFile:
        return ClassFile(archive.read(f"{_ROOT}/{name}.class"))

    jobs = [read("job/GRPCJob"), read("job/RestJob")]
    for job in jobs:
        job.catch(*_SEND, _dropped(job, then_send_error=True), stack=4)
        job.catch(*_SEND_ERROR, _dropped(job), stack=4)
    batches = read("wlm/BatchAggregator")
    batches.catch(*_SEND_ERRORS, _dropped(batches), stack=4)
    calls = read("grpcimpl/InferenceImpl")
    # what it is derived from then answers UNIMPLEMENTED: no handler of ours takes sequences, and whoever
    # ends such a call before its answer comes is answered after the call is closed
    calls.rename("streamPredictions2", "streamPredictions2OfTorchServe")
    model = read("wlm/Model")
    _wait_for_nobody(model)
    return {each.name: each.content() for each in (*jobs, batches, calls, model)}


def _wait_for_nobody(model: ClassFile) -> None:
    """Have a batch be filled for a millisecond less than `maxBatchDelay`."""
    poll = model.member(METHOD, _QUEUE, "poll", f"(JL{_UNIT};)Ljava/lang/Object;")
    less = model.add_static(
        "pollForOneLess",
        f"(L{_QUEUE};JL{_UNIT};)Ljava/lang/Object;",
        _ALOAD_0 + _LLOAD_1 + _LCONST_1 + _LSUB + _ALOAD_3 + _operation(_INVOKEVIRTUAL, poll)
        + _ARETURN,
        room=(6, 4),
    )  # fmt: skip
    unit = model.member(FIELD, _UNIT, "MILLISECONDS", f"L{_UNIT};")
    waits = _LLOAD + _LEFT + _operation(_GETSTATIC, unit)
    model.replace(
        "pollBatch",
        waits + _operation(_INVOKEVIRTUAL, poll),
        waits + _operation(_INVOKESTATIC, less),
    )
    # where the clock ticks meanwhile none is left, and what is there is taken all the same
    ends = _LLOAD + _LEFT + _LCONST_0 + _LCMP
    model.replace("pollBatch", ends + _IFGT, ends + _IFGE)


def _dropped(made: ClassFile, *, then_send_error: bool = False) -> bytes:
    """Code that logs the class of an exception and goes on; its message may quote a caller."""
    logger = made.member(FIELD, made.name, "logger", _LOGGER)
    kind = made.member(METHOD, "java/lang/Object", "getClass", "()Ljava/lang/Class;")
    warn = made.member(
        INTERFACE_METHOD, "org/slf4j/Logger", "warn", "(Ljava/lang/String;Ljava/lang/Object;)V"
    )
    text = made.string("an answer could not be sent, its caller may have gone: {}")
    code = _operation(_INVOKEVIRTUAL, kind)
    code += _operation(_GETSTATIC, logger) + _SWAP + _operation(_LDC_W, text) + _SWAP
    code += _operation(_INVOKEINTERFACE, warn) + bytes([3, 0])  # arguments, and a zero
    if then_send_error:
        message = made.string("the answer could not be sent")
        code += _ALOAD_0 + _operation(_SIPUSH, _STATUS) + _operation(_LDC_W, message)
        code += _operation(_INVOKEVIRTUAL, made.member(METHOD, made.name, *_SEND_ERROR))
    return code + _RETURN


def _operation(code: int, operand: int) -> bytes:
    return struct.pack(">BH", code, operand)
