"""Files that harm, by what reads them, each with the sentence that refuses it.

The pickles are put together by hand, instruction by instruction, as no honest program writes them. As a script it reads
every file under a limit of memory and of time and prints, as JSON, what was said to each: python hostile.py FOLDER
"""

import bz2
import gzip
import io
import json
import os
import pickle
import resource
import signal
import stat
import struct
import subprocess
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import commands
import numpy as np

from evaluation.predictions import read_prediction
from evaluation.report import read_clips
from evaluation.summary import compare
from importers.arrays import read_arrays
from importers.arrays import read_frames as read_array_frames
from importers.json_frames import read_frames as read_json_frames
from poses import layout
from poses.captions import each_frame, read_captions
from poses.files import read_keypoints, read_nmm
from poses.holistic import read_pose_file
from poses.pack import Pack, write_pack
from poses.statistics import FramedStatistics, Statistics
from runtime.errors import UserError

FRAMES = 6
Write = Callable[[Path], None]


# ---- pickles, which are read as NMM files ----------------------------------------------------------------------------


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def data(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def whole(value: int) -> bytes:
    return b"J" + struct.pack("<i", value) if -(2**31) <= value < 2**31 else b"\x8a\x09" + value.to_bytes(9, "little")


def named(name: str) -> bytes:
    return b"c" + name.rpartition(".")[0].encode() + b"\n" + name.rpartition(".")[2].encode() + b"\n"


def group(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def call(name: str, *args: bytes) -> bytes:
    return named(name) + group(*args) + b"R"


NONE, TRUE, FALSE = b"N", b"\x88", b"\x89"


def dtype(name: str, order: str = "<", *, flags: int = 0, names: bytes = NONE, fields: bytes = NONE) -> bytes:
    state = group(whole(3), text(order), NONE, names, fields, whole(-1), whole(-1), whole(flags))
    return call("numpy.dtype", text(name), FALSE, TRUE) + state + b"b"


def array(shape: tuple[int, ...], of: bytes, raw: bytes, fortran: bytes = FALSE) -> bytes:
    empty = call("numpy._core.multiarray._reconstruct", named("numpy.ndarray"), group(whole(0)), data(b"b"))
    return empty + group(whole(1), group(*map(whole, shape)), of, fortran, raw) + b"b"


def feature(content: bytes) -> bytes:
    """A pickle of a dict whose first NMM feature is this."""
    return b"\x80\x03}" + text("facial_aus") + content + b"s."


def in_turn(first: str, *codecs: str) -> bytes:
    """A text encoded by one codec after another."""
    content = text(first)
    for codec in codecs:
        content = named("_codecs.encode") + b"(" + content + text(codec) + b"tR"
    return content


POINTER = data(b"A" * 16)
FORGED = dtype("O8", "|", flags=0)
RECORD = (
    call("numpy.dtype", text("V8"), FALSE, TRUE)
    + group(
        whole(3),
        text("|"),
        NONE,
        group(text("x")),
        b"}" + text("x") + group(dtype("O8"), whole(0)) + b"s",
        whole(8),
        whole(1),
        whole(0),
    )
    + b"b"
)
STILL = group(whole(0), whole(0))  # strides that stay in place


def doubling(levels: int) -> bytes:
    """A list that holds ten times a list that holds ten times ..., of ten numbers."""
    content = b"](" + b"K\x01" * 10 + b"e" + b"q\x00"
    for level in range(levels):
        content += b"0](" + b"h" + bytes([level]) + (b"h" + bytes([level])) * 9 + b"eq" + bytes([level + 1])
    return content


def honest_nmm(**changes: object) -> dict:
    return {key: np.zeros((FRAMES, *shape), np.float32) for key, shape in layout.NMM_FEATURES.items()} | changes


def pickled(**changes: object) -> bytes:
    return pickle.dumps(honest_nmm(**changes))


MORE, UNREADABLE = "which is more than arrays; refused without being executed", "not a readable pickle"
OBJECTS = "it holds Python objects, which are not read"
PICKLES: dict[str, tuple[bytes, str]] = {
    # Forged pointers: what numpy would read as addresses of objects.
    "objects over bytes": (feature(call("numpy.ndarray", group(whole(2)), text("O"), POINTER)), "calls numpy.ndarray"),
    "objects by a buffer": (
        feature(call("numpy._core.numeric._frombuffer", POINTER, FORGED, group(whole(2)), text("C"))),
        OBJECTS,
    ),
    "objects by a scalar": (feature(call("numpy._core.multiarray.scalar", FORGED, data(b"A" * 8))), OBJECTS),
    "objects by a state": (feature(array((2,), FORGED, POINTER)), OBJECTS),
    "objects as a list": (pickled(facial_aus=np.full(3, None)), OBJECTS),
    "objects in a field": (feature(array((2,), RECORD, POINTER)), "it holds structured records"),
    "a dtype given fields": (feature(array((2,), dtype("f8", names=group(text("x"))), POINTER)), UNREADABLE),
    "a dtype of a dtype": (feature(call("numpy.dtype", dtype("f4"))), UNREADABLE),
    "a dtype of pairs": (feature(call("numpy.dtype", b"](" + group(text("x"), text("O")) + b"e")), UNREADABLE),
    # Code.
    "a function": (feature(call("posix.system", text("true"))), f"it holds posix.system, {MORE}"),
    "a function on the stack": (feature(text("builtins") + text("eval") + b"\x93" + group() + b"R"), MORE),
    "an old instance": (b"(" + text("x") + b"ios\nsystem\n.", f"it holds os.system, {MORE}"),
    "an old object": (b"(" + named("os.system") + text("x") + b"o.", MORE),
    "a new object": (named("builtins.object") + b")\x81.", MORE),
    "an extension": (b"\x80\x02\x82\x01.", "by instruction 0x82"),
    "a persistent ID": (b"Phello\n.", "by instruction 0x50"),
    "a set": (pickle.dumps({1, 2}), "by instruction 0x8f"),
    "a name that moves the cursor": (feature(named("os.\x1b[2Jx")), r"it holds os.\x1b[2Jx, "),
    "an array of a subclass": (
        feature(call("numpy._core.multiarray._reconstruct", named("numpy.matrix"), group(whole(0)), data(b"b"))),
        MORE,
    ),
    "a call of a number": (feature(whole(1) + group() + b"R"), UNREADABLE),
    "a state of a list": (feature(b"]}b"), "it holds more than arrays and plain values"),
    # Memory and time.
    "no strides": (
        feature(call("numpy.ndarray", group(whole(10**7), whole(17)), text("f8"), POINTER, whole(0), STILL)),
        "calls numpy.ndarray",
    ),
    "a memo of a hundred million": (b"Nr\xff\xff\xff\x070N.", "holds a NoneType"),
    "a list of lists of lists": (feature(doubling(9)), "its values are repeated without end"),
    "a million lists": (b"]" * 3_000_000 + b".", "it holds more than 1,000,000 values"),
    "hex of hex": (feature(in_turn("x" * 1000, "latin1", *["hex"] * 20)), "bytes in a form that pickle does not write"),
    "punycode": (
        feature(in_turn("".join(chr(19968 + n * 7919 % 20_000) for n in range(150_000)), "punycode")),
        "bytes in a form that pickle does not write",
    ),
    "one text encoded for ever": (
        text("x" * 10**6)
        + b"q\x00"
        + text("latin1")
        + b"q\x01"
        + (named("_codecs.encode") + b"(h\x00h\x01tR0") * 2000
        + b".",
        "its values are repeated without end",
    ),
    "one array's bytes for ever": (
        dtype("u1")
        + b"q\x00"
        + data(bytes(10**6))
        + b"q\x01]"
        + array((10**6,), b"h\x00", b"h\x01").join([b""] + [b"a"] * 2000)
        + b".",
        "its values are repeated without end",
    ),
    "one array in a list for ever": (
        feature(b"](" + array((10**6,), dtype("u1"), data(bytes(10**6))) + b"q\x00" + b"h\x00" * 2000 + b"e"),
        "its values are repeated without end",
    ),
    "pairs for ever": (
        b"]("
        + group(whole(1), whole(1)) * 10_000
        + b"eq\x00"
        + (named("collections.OrderedDict") + b"h\x00\x85R") * 10_000
        + b".",
        "its values are repeated without end",
    ),
    "a bytearray of ten thousand million": (feature(call("builtins.bytearray", whole(10**10))), MORE),
    "a length beyond the file": (b"\x8d" + struct.pack("<Q", 2**62) + b"x.", UNREADABLE),
    "nested without end": (b"]" * 100_000 + b"a" * 99_999 + b".", "its containers are nested"),
    "tuples without end": (b")" + b"\x85" * 100_000 + b".", "its containers are nested"),
    "a list that holds itself": (feature(b"]q\x00h\x00a"), "its containers are nested 32 deep, or hold themselves"),
    # Numbers and texts that are none.
    "a number of 400 digits": (pickled(facial_aus=[10**400]), "a whole number beyond 64 bits"),
    "a number of 400 digits in letters": (b"L1" + b"0" * 400 + b"L\n.", "a whole number beyond 64 bits"),
    "a long number in letters": (b"F" + b"1" * 100_000 + b"\n.", UNREADABLE),
    "half a pair of surrogates": (b"X\x03\0\0\0\xed\xa0\x80.", "a text is not Unicode"),
    "half a pair in an array": (feature(array((1,), dtype("U1"), data(b"\0\xd8\0\0"))), "a text is not Unicode"),
    "a code beyond Unicode": (feature(array((1,), dtype("U1"), data(b"\xff\xff\xff\x7f"))), "a text is not Unicode"),
    "complex numbers": (pickled(facial_aus=np.zeros((6, 17), complex)), "it holds complex numbers"),
    "dates": (pickled(facial_aus=np.zeros((6, 17), "M8[s]")), "it holds dates"),
    "texts for numbers": (pickled(facial_aus=np.full((6, 17), "1.5")), "'facial_aus' is not numbers"),
    "None for a number": (pickled(facial_aus=[[None] * 17] * 6), "'facial_aus' is not numbers"),
    "lists of two lengths": (pickled(facial_aus=[[1.0], [1.0, 2.0]]), "'facial_aus' is not numbers"),
    "no frames": (pickled(**{key: np.zeros((0, *s)) for key, s in layout.NMM_FEATURES.items()}), "zero frames"),
    # Shapes that do not fit.
    "too few bytes": (feature(array((3,), dtype("f8"), POINTER)), "would not fill the 16 bytes"),
    "too many bytes": (feature(array((1,), dtype("f8"), POINTER)), "would not fill the 16 bytes"),
    "a negative shape": (feature(array((-2,), dtype("f8"), POINTER)), "an array's shape is not valid"),
    "a shape of no bytes": (feature(array((0, 2**31 - 1, 2**31 - 1, 2**31 - 1), dtype("f8"), data(b""))), "too large"),
    "a shape of no number": (feature(array((), dtype("f8"), data(b""))), "would not fill the 0 bytes"),
    "33 dimensions": (feature(array((1,) * 33, dtype("u1"), data(b"x"))), "an array's shape is not valid"),
    "letters of no size": (feature(array((2**31 - 1,), dtype("U0"), data(b""))), UNREADABLE),
    "letters without end": (feature(array((1,), dtype("U4000000000"), data(b""))), UNREADABLE),
    "an array without a state": (
        feature(call("numpy._core.multiarray._reconstruct", named("numpy.ndarray"), group(whole(0)), data(b"b"))),
        "it ends within an array",
    ),
    # Other files.
    "an empty file": (b"", "not a readable pickle (it is empty)"),
    "half a file": (pickled()[:-100], "not a readable pickle (truncated?)"),
    "an unknown protocol": (b"\x80\x09.", "pickle protocol 9 is unknown"),
    "gzip": (gzip.compress(pickled()), "it is compressed by gzip: unpack it with gunzip"),
    "bzip2": (bz2.compress(pickled()), "it is compressed by bzip2: unpack it with bunzip2"),
    "a .npy": (b"\x93NUMPY\x01\x00", "it is a .npy array"),
    "a zip": (b"PK\x03\x04 and so on", "it is a zip archive"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "it is a Git LFS pointer"),
    "what macOS leaves": (b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X", "what macOS leaves beside"),
    "a list": (pickle.dumps([1, 2]), "holds a list; expected a dict"),
}


# ---- .npz, which are read as pose files ------------------------------------------------------------------------------


def npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def npy_header(text: str, version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text.encode("latin1")


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that stands there twice
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def honest_npz(**changes: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **({"keypoints": np.full((FRAMES, 75, 2), 0.5, np.float32)} | changes))
    return buffer.getvalue()


def changed(archive: bytes, offset: int, value: bytes) -> bytes:
    """The archive with a field of the central directory's first entry replaced."""
    start = archive.index(b"PK\x01\x02") + offset
    return archive[:start] + value + archive[start + len(value) :]


def member(header: str, content: bytes = b"") -> bytes:
    return zipped(("keypoints.npy", npy_header(header) + content))


def npz_bomb(size: int) -> bytes:
    """Zeros that an archive of a thousandth of their size unpacks to, made without ever holding them."""
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    head = npy_header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({size},), }}")
    packed, crc, block = packer.compress(head), zlib.crc32(head), bytes(2**20)
    for _ in range(size // len(block)):
        packed, crc = packed + packer.compress(block), zlib.crc32(block, crc)
    packed += packer.flush()
    numbers = struct.pack("<III", crc, len(packed), size + len(head))
    local = struct.pack("<IHHHI", 0x04034B50, 20, 0, 8, 0) + numbers + struct.pack("<HH", 13, 0) + b"keypoints.npy"
    central = struct.pack("<IHHHHI", 0x02014B50, 20, 20, 0, 8, 0) + numbers
    central += struct.pack("<HHHHHII", 13, 0, 0, 0, 0, 0, 0) + b"keypoints.npy"
    return (
        local
        + packed
        + central
        + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 1, 1, len(central), len(local) + len(packed), 0)
    )


SHAPE = f"({FRAMES}, 75, 2)"
NOT_NPZ = "not a readable .npz of arrays"
ARCHIVES: dict[str, tuple[bytes, str]] = {
    "a bomb": (npz_bomb(2**28), "'keypoints' takes 268 MB unpacked, and"),
    "more than it says": (changed(npz_bomb(2**26), 24, struct.pack("<I", 100)), NOT_NPZ),
    "less than it says": (changed(honest_npz(), 24, struct.pack("<I", 2**24)), NOT_NPZ),
    "twenty thousand members": (zipped(*((f"{n}.npy", b"") for n in range(20_000))), "its table of contents"),
    "one name twice": (zipped(("keypoints.npy", b""), ("keypoints.npy", b"")), "a name stands in it twice"),
    "another packing": (zipped(("keypoints.npy", b"x" * 1000), method=zipfile.ZIP_LZMA), "compressed in a way"),
    "encrypted": (changed(honest_npz(), 8, b"\x01\x00"), NOT_NPZ),
    "a damaged byte": (honest_npz()[:120] + b"\xff" + honest_npz()[121:], NOT_NPZ),
    "half a file": (honest_npz()[:200], "not a readable .npz of arrays (truncated?)"),
    "an empty file": (b"", "not a readable .npz of arrays (it is empty)"),
    "a .npy": (npy(np.zeros((6, 75, 2))), "it is a .npy array"),
    "a pickle": (pickled(), "it is a pickle"),
    "a member without a magic": (zipped(("keypoints.npy", b"hello" * 100)), NOT_NPZ),
    "a member that is a pickle": (zipped(("keypoints.npy", pickled())), "it is a pickle"),
    "a header of 10^12 rows": (
        member("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 75, 2), }"),
        "an array's shape",
    ),
    "a header of a billion rows": (
        member("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 75), }"),
        "would not fill the 0 bytes",
    ),
    "a header of brackets": (member("(" * 9000), "its header is not valid"),
    "a header of spaces": (member("{" + " " * 9000 + "'descr': " + " " * 500), "its header is not valid"),
    "a header of code": (member("__import__('os').system('true')"), "its header is not valid"),
    "a header without a shape": (member("{'descr': '<f4', 'descr': '<f4', 'descr': '<f4'}"), "its header is not valid"),
    "a header without an end": (zipped(("keypoints.npy", b"\x93NUMPY\x01\x00\xff\xff{")), "truncated?"),
    "an unknown version": (zipped(("keypoints.npy", npy_header("{}", b"\x09\x00"))), "an unknown version of .npy"),
    "objects": (honest_npz(keypoints=np.full((FRAMES, 75, 2), None)), OBJECTS),
    "complex numbers": (honest_npz(keypoints=np.zeros((FRAMES, 75, 2), complex)), "it holds complex numbers"),
    "dates": (honest_npz(keypoints=np.zeros((FRAMES, 75, 2), "M8[s]")), "it holds dates"),
    "records": (honest_npz(keypoints=np.zeros(FRAMES, "f4,i4")), "it holds structured records"),
    "texts": (honest_npz(keypoints=np.full((FRAMES, 75, 2), "x")), "'keypoints' is <U1"),
    "too many bytes": (
        member(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {SHAPE}, }}", bytes(FRAMES * 75 * 8 + 4)),
        "fill",
    ),
}

# ---- .npy, which are read as predictions, and what evaluate.py keeps of clips ----------------------------------------

NPY: dict[str, tuple[bytes, str]] = {
    "an empty file": (b"", "not a readable .npy of numbers (it is empty)"),
    "a .npz": (honest_npz(), "it is a zip archive, as .npz and .pt are"),
    "a header of 10^12 rows": (
        npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 214), }"),
        "an array's shape",
    ),
    "half a file": (npy(np.zeros((5, 214)))[:-9], "would not fill"),
    "two arrays": (npy(np.zeros((5, 214))) * 2, "would not fill"),
    "objects": (npy(np.full((5, 214), None)), OBJECTS),
    "texts": (npy(np.full((5, 214), "x")), "expected float [T,214]"),
}


def scores(**changes: np.ndarray) -> bytes:
    honest = {"ids": np.array(["a", "b"]), "model/dtw": np.ones(2), "model/speeds": np.ones((2, 2))}
    return zipped(*((f"{name}.npy", npy(values)) for name, values in (honest | changes).items() if values is not None))


CLIPS: dict[str, tuple[bytes, str]] = {
    "another archive": (honest_npz(), "not readable values of clips"),
    "no ids": (scores(ids=None), "not readable values of clips"),
    "numbers for ids": (scores(ids=np.arange(2)), "no value of its clips"),
    "fewer values": (scores(**{"model/dtw": np.ones(1)}), "'model/dtw' is no value of its clips"),
    "values of another width": (scores(**{"model/speeds": np.ones((2, 3))}), "'model/speeds' is no value"),
    "texts": (scores(**{"model/dtw": np.array(["a", "b"])}), "'model/dtw' is no value of its clips"),
    "latents of no clip": (
        scores(
            **{
                f"model/{name}": value
                for which in ("latents", "reference_latents")
                for name, value in ((which, np.ones((3, 4))), (f"{which}_clip", np.array([0, 1, 9])))
            }
        ),
        "latents_clip' is no value",
    ),
    "no clip": (zipped(("ids.npy", npy(np.array([], str))), ("model/dtw.npy", npy(np.ones(0)))), "is no value"),
}


# ---- statistics, packs, captions -------------------------------------------------------------------------------------


def statistics(**changes: object) -> Statistics:
    width = {"mean": 214, "std": 214, "hand_mean": 84, "hand_std": 84}
    return Statistics(**({name: np.ones(size, np.float32) for name, size in width.items()} | {"info": {}} | changes))


def kept_statistics(content: Statistics, **changes: np.ndarray) -> Write:
    def write(path: Path) -> None:
        content.save(path)
        with np.load(path) as archive:
            np.savez(path, **({name: archive[name] for name in archive.files} | changes))

    return write


FRAMED = statistics(framed=FramedStatistics(*(np.ones(size, np.float32) for size in (214, 214, 84, 84, 3, 3))))
SPREAD = np.ones(214, np.float32)
SPREAD[7] = -1
STATISTICS: dict[str, tuple[Write, str]] = {
    "a negative spread": (kept_statistics(statistics(std=SPREAD)), "'std' holds a spread that is not positive"),
    "no spread": (kept_statistics(statistics(hand_std=np.zeros(84))), "'hand_std' holds a spread that is not positive"),
    "NaN": (kept_statistics(statistics(mean=np.full(214, np.nan))), "'mean' is not 214 finite numbers"),
    "beyond float32": (kept_statistics(statistics(), mean=np.full(214, 1e300)), "'mean' is not 214 finite numbers"),
    "another width": (kept_statistics(statistics(mean=np.ones(3))), "'mean' is not 214 finite numbers"),
    "texts": (kept_statistics(statistics(), mean=np.full(214, "1")), "'mean' is not 214 finite numbers"),
    "a body frame in words": (kept_statistics(FRAMED, framed_place_std=np.full(3, "1")), "'framed place_std' is not 3"),
    "no spread in the body frame": (kept_statistics(FRAMED, framed_std=np.zeros(214)), "'framed std' holds a spread"),
    "a part of a body frame": (kept_statistics(statistics(), framed_fingerprint="0" * 12), "not readable statistics"),
    "another's body frame": (
        kept_statistics(FRAMED, framed_mean=np.zeros(214, np.float32)),
        "its numbers are not those of its fingerprint",
    ),
    "another's fingerprint": (
        kept_statistics(statistics(), mean=np.zeros(214, np.float32)),
        "its numbers are not those of its fingerprint",
    ),
    "no fingerprint": (lambda path: path.write_bytes(honest_npz()), "not readable statistics"),
    "lists without end": (kept_statistics(statistics(), info=np.array("[" * 100_000)), "not readable statistics"),
    "a list for a dict": (kept_statistics(statistics(), info=np.array("[]")), "do not say what they were made from"),
}


def pack(**changes: object) -> Write:
    """A pack of two clips with its index changed; `index` replaces it, `size` that of its file."""

    def write(folder: Path) -> None:
        write_pack(folder, [(name, "", {"pose": np.ones((3, 4), np.float32)}) for name in "ab"])
        index = json.loads((folder / "index.json").read_text())
        index["fields"]["pose"] |= {name: value for name, value in changes.items() if name not in ("index", "size")}
        (folder / "index.json").write_text(changes.get("index", json.dumps(index)))
        if "size" in changes:
            os.truncate(folder / "pose", changes["size"])

    return write


PACKS: dict[str, tuple[Write, str]] = {
    name: (pack(**changes), "a damaged cache; delete this folder, and it is made again")
    for name, changes in {
        "a shorter file": {"size": 50},
        "an empty index": {"index": ""},
        "half an index": {"index": '{"ids": ["a"'},
        "a list for an index": {"index": "[]"},
        "an index of nothing": {"index": "{}"},
        "an index of lists without end": {"index": "[" * 100_000},
        "other offsets": {"offsets": [0, 9, 6]},
        "offsets beyond the file": {"offsets": [0, 3, 600]},
        "negative offsets": {"offsets": [0, -3, 6]},
        "offsets of 40 digits": {"offsets": [0, 3, 10**40]},
        "fewer offsets": {"offsets": [0, 6]},
        "fractions": {"offsets": [0.0, 3.0, 6.0]},
        "another width": {"width": -4},
        "objects": {"dtype": "object"},
        "a file elsewhere": {
            "index": json.dumps(
                {"ids": [], "texts": [], "fields": {"../x": {"width": 1, "dtype": "uint8", "offsets": [0]}}}
            )
        },
        "numbers for texts": {"index": '{"ids": [1, 2], "texts": [3, 4], "fields": {}}'},
    }.items()
}

JSON: dict[str, tuple[bytes, str]] = {
    "an empty file": (b"", "not readable JSON"),
    "lists without end": (b"[" * 100_000, "not readable JSON"),
    "a million lists": (b"[" + b"[]," * 1_000_000 + b"[]]", "not readable JSON (too many lists)"),
    "another encoding": ('{"ü": []}'.encode("latin1"), "not readable JSON (not UTF-8)"),
    "half a pair of surrogates": (b'{"clip": [["\\ud800", 0, 1]]}', "a text is not Unicode"),
    "a number of 5000 digits": (b'{"clip": [["a", 0, 1' + b"0" * 5000 + b"]]}", "not readable JSON"),
}
CAPTIONS: dict[str, tuple[bytes, str]] = {
    "a list": (b"[]", "not JSON of the form"),
    "a number for segments": (b'{"clip": 1}', "not JSON of the form"),
    "a negative start": (b'{"clip": [["a", -1000000000, 3]]}', "not JSON of the form"),
    "an end before its start": (b'{"clip": [["a", 3, 1]]}', "not JSON of the form"),
    "texts for frames": (b'{"clip": [["a", "0", "1"]]}', "not JSON of the form"),
    "fractions": (b'{"clip": [["a", 0.5, 1.5]]}', "not JSON of the form"),
    "NaN": (b'{"clip": [["a", NaN, NaN]]}', "not JSON of the form"),
}


# ---- files that are none ---------------------------------------------------------------------------------------------

NO_FILES: dict[str, tuple[Write, str]] = {
    "a folder": (Path.mkdir, "a folder, but a file is needed"),
    "a named pipe": (os.mkfifo, "a named pipe, but a file is needed"),
    "a link to a device": (lambda path: path.symlink_to("/dev/zero"), "a device, but a file is needed"),
    "a link to itself": (lambda path: path.symlink_to(path), "check the path and its permissions"),
    "a link to nothing": (lambda path: path.symlink_to("nothing"), "no such file"),
    "a file of holes": (lambda path: (path.touch(), os.truncate(path, 2**36)), ""),
}


def bytes_of(content: bytes) -> Write:
    return lambda path: path.write_bytes(content) and None


# ---- how they are read -----------------------------------------------------------------------------------------------


def read_and_compare(path: Path) -> list[dict]:
    _, rows = read_clips(path)
    return [compare([scores], [scores]) for scores in rows.values()]


def read_pack(path: Path) -> list[dict[str, np.ndarray]]:
    content = Pack(path)
    return [content[index] for index in range(len(content))]


def read_both_captions(path: Path) -> list[str] | None:
    return each_frame(read_captions(path).get("clip"), 10)


def read_array_frame(path: Path) -> np.ndarray:
    return read_array_frames([path], np.array([0])).values


def read_json_frame(path: Path) -> np.ndarray:
    return read_json_frames([path], "signing")[0]


def without(files: dict[str, tuple[Write | bytes, str]], *cases: str) -> dict[str, tuple[Write | bytes, str]]:
    return {case: file for case, file in files.items() if case not in cases}


@dataclass(frozen=True)
class Reader:
    """What reads a file of that name, and the files that harm it: how each is written, and what must be said."""

    read: Callable[[Path], object]
    name: str
    files: dict[str, tuple[Write | bytes, str]]


READERS = {
    "nmm": Reader(read_nmm, "train0.pkl", PICKLES | NO_FILES),
    "pose": Reader(read_keypoints, "train0.npz", ARCHIVES | NO_FILES),
    "prediction": Reader(read_prediction, "clip.npy", NPY | NO_FILES),
    "clips": Reader(read_and_compare, "clips_dev.npz", CLIPS),
    "statistics": Reader(Statistics.load, "normalization_stats.npz", STATISTICS),
    "pack": Reader(read_pack, "pack", PACKS),
    "pose_file": Reader(
        read_pose_file,
        "clip.pose",
        NO_FILES | {"an empty file": (b"", "not a readable .pose"), "a text": (b"hello " * 50, "not a readable .pose")},
    ),
    "captions": Reader(read_both_captions, "captions.json", JSON | CAPTIONS | NO_FILES),
    # What an importer is given was found in its folder.
    "array": Reader(read_arrays, "clip.npz", without(ARCHIVES | NO_FILES, "texts", "a link to nothing")),
    "array_frame": Reader(read_array_frame, "clip_1.npy", without(NPY | NO_FILES, "texts", "a link to nothing")),
    "json_frame": Reader(read_json_frame, "clip_1.json", without(JSON | NO_FILES, "a link to nothing")),
}
SECONDS, BYTES, BYTES_PER_BYTE = 10, 200_000_000, 4  # what reading a file may take


def say(reader: Reader, path: Path) -> str:
    """What is said to a file within the limits of time and memory, or what else happens."""
    size = path.lstat().st_size if not stat.S_ISLNK(path.lstat().st_mode) else 0
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES + BYTES_PER_BYTE * size, resource.RLIM_INFINITY))
    # Either ends this process: of its own time it may take so much, and on a busy machine wait for some of it.
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(6 * SECONDS)
    try:
        reader.read(path)
    except UserError as error:
        return str(error)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return "nothing"


def say_to_all(readers: dict[str, Reader], folder: Path) -> dict[str, dict[str, str]]:
    """What is said to every file of the readers, by kind and case."""
    said: dict[str, dict[str, str]] = {}
    for kind, reader in readers.items():
        for number, (case, (content, _)) in enumerate(reader.files.items()):
            path = folder / kind / str(number) / reader.name
            path.parent.mkdir(parents=True)
            write = bytes_of(content) if isinstance(content, bytes) else content
            write(path)
            said.setdefault(kind, {})[case] = say(reader, path)
    return said


def said_by(script: str, folder: Path) -> dict:
    """What this file or its like prints as a script, in a process whose memory and time can be limited."""
    done = subprocess.run(
        [sys.executable, script, folder],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(commands.ROOT), "OMP_NUM_THREADS": "1"},
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return json.loads(done.stdout)


def check_sentence(sentence: str, reader: Reader, case: str) -> None:
    assert reader.name in sentence
    assert reader.files[case][1] in sentence
    assert "\n" not in sentence
    assert len(sentence) < 400


if __name__ == "__main__":
    print(json.dumps(say_to_all(READERS, Path(sys.argv[1]))))
