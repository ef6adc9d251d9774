"""Reading a pickle that others wrote, without ever calling what it names.

Python's own unpickler looks up the functions that a file names and calls them. Here the file's instructions run on a
stack of plain values, and the few names that stand in pickles of numpy arrays (of numpy 1 and 2, protocols 0 to 5, also
of Python 2) are understood instead of called: dtype, shape and bytes are checked by `untrusted.make_array` before numpy
sees them. Any other name is refused. `PickleMachine` may be given other names to understand.
"""

import codecs
import pickle
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from runtime.errors import UserError
from runtime.untrusted import Refusal, escaped, make_array, parse_dtype, read_regular, what_it_is

MAX_PICKLE_BYTES = 2**27  # half a million frames of NMMs in float32
MAX_INSTRUCTIONS = 1_000_000  # instructions: an array takes some forty, each number in a list takes one
MAX_DEPTH = 32  # containers within containers
FREE_BYTES = 2**24  # what a pickle's values may take beyond its own size


class UnknownGlobal(Refusal):
    """The name of a class or function that a pickle holds and that is not understood."""


class Global:
    """A name that a pickle may hold. `build(machine, arguments)` makes a plain value in place of the call; without it
    the name may only be an argument."""

    def __init__(self, name: str, build: Callable[["PickleMachine", tuple], object] | None = None) -> None:
        self.name, self.build = name, build


class _Unfinished:
    """An array or a dtype between its creation and the state that makes it whole."""

    def __init__(self, dtype: np.dtype | None = None, masked: bool = False) -> None:
        self.dtype, self.masked, self.array = dtype, masked, None


_NDARRAY, _MASKED_ARRAY = Global("numpy.ndarray"), Global("numpy.ma.MaskedArray")


def _begin_dtype(machine: "PickleMachine", args: tuple) -> _Unfinished:
    if not args or type(args[0]) is not str:
        raise Refusal("an array's dtype is not valid")
    return _Unfinished(dtype=parse_dtype(args[0]))


def _begin_array(machine: "PickleMachine", args: tuple) -> _Unfinished:
    if args[:1] != (_NDARRAY,):
        raise Refusal("an array of a kind of its own")
    return _Unfinished()


def _begin_masked_array(machine: "PickleMachine", args: tuple) -> _Unfinished:
    if args[:2] != (_MASKED_ARRAY, _NDARRAY):
        raise Refusal("an array of a kind of its own")
    return _Unfinished(masked=True)


def _scalar(machine: "PickleMachine", args: tuple) -> np.generic:
    dtype, data = args
    return machine.array(dtype, (), False, data)[()]


def _array_of_buffer(machine: "PickleMachine", args: tuple) -> np.ndarray:
    data, dtype, shape, order = args
    return machine.array(dtype, shape, order == "F", data)


def _encode(machine: "PickleMachine", args: tuple) -> bytes:
    """Bytes as Python 3 writes them in protocols 0 to 2."""
    text, encoding = args
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise Refusal("bytes in a form that pickle does not write")
    machine.spend(len(text))
    return text.encode("latin1")


def _no_bytes(machine: "PickleMachine", args: tuple) -> bytes:
    """The empty bytes of protocols 0 to 2."""
    if args:
        raise Refusal("bytes in a form that pickle does not write")
    return b""


def _ordered_dict(machine: "PickleMachine", args: tuple) -> dict:
    """An OrderedDict, as a dict. Python 3 sets its pairs later; Python 2 gives them here, as a list of lists."""
    (pairs,) = args or ([],)
    content: dict = {}
    machine.spend(8 * len(pairs))
    for key, value in pairs:
        machine.set_item(content, key, value)
    return content


def table_of(*known: Global) -> dict[tuple[str, str], Global]:
    return {tuple(known_global.name.rsplit(".", 1)): known_global for known_global in known}


ORDERED_DICT = Global("collections.OrderedDict", _ordered_dict)
ARRAY_GLOBALS = table_of(
    _NDARRAY,
    _MASKED_ARRAY,
    Global("numpy.dtype", _begin_dtype),
    Global("numpy.ma.core._mareconstruct", _begin_masked_array),
    Global("_codecs.encode", _encode),
    Global("__builtin__.bytes", _no_bytes),
    ORDERED_DICT,
    *(Global(f"numpy.{core}.multiarray._reconstruct", _begin_array) for core in ("core", "_core")),
    *(Global(f"numpy.{core}.multiarray.scalar", _scalar) for core in ("core", "_core")),
    *(Global(f"numpy.{core}.numeric._frombuffer", _array_of_buffer) for core in ("core", "_core")),
)
ARRAY_GLOBALS["numpy.ma.core", "MaskedArray"] = _MASKED_ARRAY
_MASKED_OF = {"f": None, "b": np.float32, "i": np.float64, "u": np.float64}  # what can hold NaN where it is masked


class PickleMachine:
    """Runs the instructions of one pickle; `known` are the names that it may hold."""

    def __init__(self, data: bytes, known: Mapping[tuple[str, str], Global] = ARRAY_GLOBALS) -> None:
        self.data, self.known = data, known
        self.position = 0
        self.stack: list = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}
        self.bytes_left = 2 * len(data) + FREE_BYTES  # an array's bytes may be made twice, as text and as numbers

    def run(self) -> object:
        """The pickle's value: dict, list, tuple, str, int, float, bool, None, bytes, arrays and numpy's numbers."""
        try:
            value = self._run()
            self._weigh(value, 0, {}, FREE_BYTES + 2 * len(self.data))
        except Refusal:
            raise
        except UnicodeError:
            raise Refusal("a text is not Unicode") from None
        except (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error):
            raise Refusal("truncated?") from None  # an instruction that finds no value, or one of another type
        return value

    def _run(self) -> object:
        data, pushes, actions, stop = self.data, PUSHES, ACTIONS, pickle.STOP[0]
        for _ in range(MAX_INSTRUCTIONS):
            code = data[self.position]
            self.position += 1
            if code == stop:
                return self.stack.pop()
            if code in pushes:
                self.stack.append(pushes[code](self))
            elif code in actions:
                actions[code](self)
            else:
                raise Refusal(f"it holds more than arrays and plain values, by instruction {code:#04x}")
        raise Refusal(f"it holds more than {MAX_INSTRUCTIONS:,} values; store arrays instead of lists")

    def _weigh(self, value: object, depth: int, known: dict[int, int], limit: int) -> int:
        """The bytes that a value takes, where a part that occurs twice counts twice; a Refusal beyond `limit`.

        Code that walks through the value, such as `numpy.asarray`, meets such a part as often.
        """
        kind = type(value)
        if kind is np.ndarray or isinstance(value, np.generic):
            return value.nbytes
        if kind in (str, bytes):
            return len(value) + 8
        if kind in (int, float, bool, type(None)):
            return 8
        if kind not in (dict, list, tuple):
            return self.weigh_other(value)
        if id(value) in known:
            return known[id(value)]
        if depth == MAX_DEPTH:
            raise Refusal(f"its containers are nested {MAX_DEPTH} deep, or hold themselves")
        weight = 8
        for item in value if kind is not dict else value.values():
            weight += self._weigh(item, depth + 1, known, limit)
            if weight > limit:
                raise Refusal("its values are repeated without end")
        known[id(value)] = weight
        return weight

    def weigh_other(self, value: object) -> int:
        """The bytes of a value of a kind that only this machine's own names make."""
        raise Refusal("it ends within an array")

    def outside(self, reference: object) -> object:
        """The value of a reference to something outside the pickle, such as a checkpoint's numbers."""
        raise Refusal("it refers to what lies outside of it")

    def spend(self, size: int) -> None:
        """Account for `size` bytes that are about to be made."""
        self.bytes_left -= size
        if self.bytes_left < 0:
            raise Refusal("its values are repeated without end")

    def array(self, dtype: object, shape: object, fortran: object, data: object) -> np.ndarray:
        if type(data) is str:  # of Python 2
            data = data.encode("latin1")
        if type(dtype) is not _Unfinished or dtype.dtype is None or type(data) is not bytes:
            raise Refusal("an array is not of plain numbers")
        self.spend(len(data))
        return make_array(dtype.dtype, shape, bool(fortran), data)

    def set_item(self, target: object, key: object, value: object) -> None:
        if type(target) is not dict or type(key) not in (str, int):
            raise Refusal("a dict with keys that are no texts")
        target[key] = value

    # ---- what instructions read, and what they do ----

    def take(self, count: int) -> bytes:
        start, self.position = self.position, self.position + count
        if self.position > len(self.data):
            raise Refusal("truncated?")
        return self.data[start : self.position]

    def size(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    def byte(self) -> int:
        self.position += 1
        return self.data[self.position - 1]

    def line(self) -> bytes:
        start, self.position = self.position, self.data.index(b"\n", self.position) + 1
        return self.data[start : self.position - 1]

    def text(self, length: int) -> str:
        return self.take(length).decode("utf-8")

    def python_2_text(self, length: int) -> str:
        """A text, or the bytes of an array, which are the same to Python 2."""
        return self.take(length).decode("latin1")

    def quoted_text(self) -> str:
        line = self.line()
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
            raise Refusal("truncated?")
        return codecs.escape_decode(line[1:-1])[0].decode("latin1")

    def escaped_text(self) -> str:
        text = self.line().decode("raw-unicode-escape")
        text.encode("utf-8")  # a UnicodeError where it holds half of a pair of surrogates
        return text

    def decimal(self) -> int | bool:
        line = self.line()
        if line in (b"00", b"01"):
            return line == b"01"
        if len(line) > 21:
            raise Refusal("a whole number beyond 64 bits")
        return self.whole(int(line.rstrip(b"L")))

    def long(self) -> int:
        count = self.byte()
        if count > 9:
            raise Refusal("a whole number beyond 64 bits")
        return self.whole(int.from_bytes(self.take(count), "little", signed=True))

    def whole(self, value: int) -> int:
        if not -(2**63) <= value < 2**64:
            raise Refusal("a whole number beyond 64 bits")
        return value

    def real(self) -> float:
        line = self.line()
        if len(line) > 64:
            raise Refusal("truncated?")
        return float(line)

    def protocol(self) -> None:
        version = self.byte()
        if version > 5:
            raise Refusal(f"pickle protocol {version} is unknown")

    def since_mark(self) -> list:
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise Refusal("truncated?")
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def extend(self, items: list) -> None:
        if type(self.stack[-1]) is not list:
            raise Refusal("truncated?")
        self.stack[-1].extend(items)

    def new_dict(self) -> dict:
        items = self.since_mark()
        self.stack.append({})
        self.set_items(items)
        return self.stack.pop()

    def set_items(self, items: list) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.set_item(self.stack[-1], key, value)

    def set_one(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_item(self.stack[-1], key, value)

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def get(self, index: int) -> object:
        value = self.memo[index]
        return value.array if type(value) is _Unfinished and value.array is not None else value

    def global_of_lines(self) -> Global:
        return self.named(self.line().decode("utf-8"), self.line().decode("utf-8"))

    def global_of_stack(self) -> Global:
        name, module = self.stack.pop(), self.stack.pop()
        return self.named(module, name)

    def named(self, module: object, name: object) -> Global:
        known = self.known.get((module, name))
        if known is None:
            raise UnknownGlobal(f"{escaped(module)}.{escaped(name)}")
        return known

    def reduce(self) -> object:
        args, known = self.stack.pop(), self.stack.pop()
        if type(known) is not Global or type(args) is not tuple:
            raise Refusal("truncated?")
        if known.build is None:
            raise Refusal(f"it calls {known.name}, as no array does")
        return known.build(self, args)

    def build_top(self) -> object:
        state, target = self.stack.pop(), self.stack.pop()
        return self.build(target, state)

    def build(self, target: object, state: object) -> object:
        """`target` with its state: a dtype gets its byte order, an array its shape, dtype and numbers."""
        if type(target) is not _Unfinished or type(state) is not tuple:
            raise Refusal("it holds more than arrays and plain values")
        if target.dtype is not None:
            if len(state) != 8 or state[1] not in ("<", ">", "|", "=") or state[2:5] != (None, None, None):
                raise Refusal("an array's dtype is not valid")
            if state[1] != "|":
                target.dtype = target.dtype.newbyteorder(state[1])
            return target
        mask = None
        if target.masked:
            *state, mask, _fill_value = state
        if len(state) == 4:  # of numpy before 1.0
            state = (1, *state)
        _version, shape, dtype, fortran, data = state
        target.array = self.array(dtype, shape, fortran, data)
        if target.masked:
            target.array = self.unmasked(target.array, self.array(_Unfinished(np.dtype(bool)), shape, fortran, mask))
        return target.array

    def unmasked(self, array: np.ndarray, mask: np.ndarray) -> np.ndarray:
        if array.dtype.kind not in _MASKED_OF:
            raise Refusal("a masked array of texts")
        dtype = np.dtype(_MASKED_OF[array.dtype.kind] or array.dtype)
        self.spend(array.size * dtype.itemsize)
        array = array.astype(dtype)
        array[mask] = np.nan
        return array


# What each instruction puts on the stack.
_PUSHES: dict[bytes, Callable[[PickleMachine], object]] = {
    pickle.NONE: lambda machine: None,
    pickle.NEWTRUE: lambda machine: True,
    pickle.NEWFALSE: lambda machine: False,
    pickle.INT: PickleMachine.decimal,
    pickle.LONG: PickleMachine.decimal,
    pickle.LONG1: PickleMachine.long,
    pickle.BININT: lambda machine: int.from_bytes(machine.take(4), "little", signed=True),
    pickle.BININT1: PickleMachine.byte,
    pickle.BININT2: lambda machine: machine.size(2),
    pickle.FLOAT: PickleMachine.real,
    pickle.BINFLOAT: lambda machine: struct.unpack(">d", machine.take(8))[0],
    pickle.STRING: PickleMachine.quoted_text,
    pickle.SHORT_BINSTRING: lambda machine: machine.python_2_text(machine.byte()),
    pickle.BINSTRING: lambda machine: machine.python_2_text(machine.size(4)),
    pickle.UNICODE: PickleMachine.escaped_text,
    pickle.SHORT_BINUNICODE: lambda machine: machine.text(machine.byte()),
    pickle.BINUNICODE: lambda machine: machine.text(machine.size(4)),
    pickle.BINUNICODE8: lambda machine: machine.text(machine.size(8)),
    pickle.SHORT_BINBYTES: lambda machine: machine.take(machine.byte()),
    pickle.BINBYTES: lambda machine: machine.take(machine.size(4)),
    pickle.BINBYTES8: lambda machine: machine.take(machine.size(8)),
    pickle.BYTEARRAY8: lambda machine: machine.take(machine.size(8)),
    pickle.EMPTY_DICT: lambda machine: {},
    pickle.EMPTY_LIST: lambda machine: [],
    pickle.EMPTY_TUPLE: lambda machine: (),
    pickle.DICT: PickleMachine.new_dict,
    pickle.LIST: PickleMachine.since_mark,
    pickle.TUPLE: lambda machine: tuple(machine.since_mark()),
    pickle.GET: lambda machine: machine.get(machine.decimal()),
    pickle.BINGET: lambda machine: machine.get(machine.byte()),
    pickle.LONG_BINGET: lambda machine: machine.get(machine.size(4)),
    pickle.GLOBAL: PickleMachine.global_of_lines,
    pickle.INST: PickleMachine.global_of_lines,  # no known name has instances of this kind, so it ends there
    pickle.STACK_GLOBAL: PickleMachine.global_of_stack,
    pickle.REDUCE: PickleMachine.reduce,
    pickle.BUILD: PickleMachine.build_top,
    pickle.BINPERSID: lambda machine: machine.outside(machine.stack.pop()),
}
# What each of the others does.
_ACTIONS: dict[bytes, Callable[[PickleMachine], object]] = {
    pickle.PROTO: PickleMachine.protocol,
    pickle.FRAME: lambda machine: machine.take(8),
    pickle.MARK: lambda machine: machine.marks.append(len(machine.stack)),
    pickle.POP: lambda machine: machine.stack.pop(),
    pickle.POP_MARK: PickleMachine.since_mark,
    pickle.TUPLE1: lambda machine: machine.tuple_of(1),
    pickle.TUPLE2: lambda machine: machine.tuple_of(2),
    pickle.TUPLE3: lambda machine: machine.tuple_of(3),
    pickle.APPEND: lambda machine: machine.extend([machine.stack.pop()]),
    pickle.APPENDS: lambda machine: machine.extend(machine.since_mark()),
    pickle.SETITEM: PickleMachine.set_one,
    pickle.SETITEMS: lambda machine: machine.set_items(machine.since_mark()),
    pickle.MEMOIZE: lambda machine: machine.put(len(machine.memo)),
    pickle.PUT: lambda machine: machine.put(machine.decimal()),
    pickle.BINPUT: lambda machine: machine.put(machine.byte()),
    pickle.LONG_BINPUT: lambda machine: machine.put(machine.size(4)),
}
PUSHES = {code[0]: read for code, read in _PUSHES.items()}
ACTIONS = {code[0]: act for code, act in _ACTIONS.items()}


def read_pickle(path: Path, at_most: int = MAX_PICKLE_BYTES) -> object:
    """The content of a pickle of arrays, numbers, texts and containers of them; anything else is a UserError.

    An OrderedDict comes as a dict; a masked array as floats, NaN where it is masked. A missing file stays a
    FileNotFoundError.
    """
    data = read_regular(path, at_most)
    try:
        return PickleMachine(data).run()
    except UnknownGlobal as name:
        raise UserError(f"{path}: it holds {name}, which is more than arrays; refused without being executed") from None
    except Refusal as refusal:
        start = what_it_is(data)
        reason = start if start != "truncated?" and "a pickle" not in start else refusal
        raise UserError(f"{path}: not a readable pickle ({reason}); write it again") from None
