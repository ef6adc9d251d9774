"""Files of others: what honest programs write is read, anything else is one sentence, in bounded memory and time."""

import pickle
from collections import OrderedDict
from pathlib import Path

import hostile
import numpy as np
import pytest
from hostile import FRAMES, READERS, Reader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from poses import layout
from runtime import untrusted
from runtime.errors import UserError
from runtime.pickles import PickleMachine, read_pickle
from runtime.untrusted import NpzArchive, Refusal, make_array, parse_dtype, read_json, read_npy, read_npy_shape

CORPUS = Path(__file__).parent / "fuzz_corpus"
PROTOCOLS = range(6)
KINDS = ("?", "i1", "u2", ">i4", "<u8", "<f2", ">f4", "<f8", "<U3", ">U2", "S4")
# Examples are the same in every run, and nothing is kept beside the tests.
REPEATABLE = settings(
    derandomize=True, database=None, deadline=None, max_examples=150, suppress_health_check=list(HealthCheck)
)


def require_same(ours: object, theirs: object) -> None:
    """The same values of the same types; arrays are ours to write to, in this machine's byte order."""
    if isinstance(theirs, OrderedDict):
        theirs = dict(theirs)
    assert type(ours) is type(theirs)
    if isinstance(theirs, np.ndarray | np.generic):
        assert (ours.dtype, ours.shape) == (theirs.dtype.newbyteorder("="), theirs.shape)
        np.testing.assert_array_equal(ours, theirs)
        if isinstance(ours, np.ndarray):
            assert ours.flags.writeable
            assert ours.flags.owndata or ours.base is None
    elif isinstance(theirs, dict):
        require_same(list(ours.items()), list(theirs.items()))
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs)
        for mine, other in zip(ours, theirs, strict=True):
            require_same(mine, other)
    else:
        assert ours == theirs or (ours != ours and theirs != theirs)


def make_values(kind: str, shape: tuple[int, ...]) -> np.ndarray:
    values = np.random.default_rng(0).integers(0, 2 if kind == "?" else 100, shape)
    return np.asarray(values).astype("U3" if np.dtype(kind).kind in "US" else kind).astype(kind)


# ---- what is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pickle_of_arrays_is_read_as_python_reads_it(protocol: int, tmp_path: Path):
    arrays = {kind: make_values(kind, (4, 3)) for kind in KINDS}
    content = {
        **arrays,
        "twice": [arrays["<f2"], arrays["<f2"]],
        "fortran": np.asfortranarray(make_values("f4", (4, 3))),
        "shapes": [np.zeros((0, 3)), np.array(1.5), np.zeros((2, 1, 2), bool)],
        "scalars": [np.float32(0.1), np.int64(-3), np.bool_(True), np.str_("ü")],
        "ordered": OrderedDict(b=1, a=np.ones(2)),
        "plain": [None, True, False, 0, 255, 256, -1, 2**40, -(2**63), 2**63, 0.1, float("nan"), -float("inf")],
        "texts": ["", "a'\\b\n", "手語", "🤟", b"", b"\x00\xff", "x" * 300, b"y" * 300],
        "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [[1], [2, [3]]]),
        "keys": {1: "one", -1: {}},
    }
    (tmp_path / "content.pkl").write_bytes(pickle.dumps(content, protocol))
    require_same(read_pickle(tmp_path / "content.pkl"), content)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_a_masked_array_hides_is_nan(protocol: int):
    for kind, read_as in (("f2", "f2"), ("f8", "f8"), ("i4", "f8"), ("u1", "f8"), ("?", "f4")):
        masked = np.ma.array([[1, 0], [1, 1]], kind, mask=[[0, 1], [0, 0]])
        (values,) = PickleMachine(pickle.dumps([masked], protocol)).run()
        np.testing.assert_array_equal(values, np.array([[1, np.nan], [1, 1]], read_as))
        assert values.dtype == read_as


def test_pickles_of_python_2_are_read():
    start = b"\x80\x02}U\x01acnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    of_dtype = b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    raw = np.array([1.5, -300.0], "<f4").tobytes()
    for text in (b"U\x08" + raw, b"T\x08\0\0\0" + raw, b"S" + repr(raw)[1:].encode() + b"\n"):
        content = PickleMachine(start + b"(K\x01K\x02\x85" + of_dtype + b"\x89" + text + b"tbs.").run()
        require_same(content, {"a": np.array([1.5, -300.0], np.float32)})
    ordered = b"ccollections\nOrderedDict\n((lp0\n(lp1\nS'a'\naI1\naatR."
    assert PickleMachine(ordered).run() == {"a": 1}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(4, 3), (5,), (), (0, 3)])
def test_npy_and_npz_are_read_as_numpy_reads_them(kind: str, shape: tuple[int, ...], tmp_path: Path):
    values = make_values(kind, shape)
    np.save(tmp_path / "a.npy", values)
    require_same(read_npy(tmp_path / "a.npy"), values)
    assert read_npy_shape(tmp_path / "a.npy") == shape
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", values=values, fortran=np.asfortranarray(values))
        with NpzArchive(tmp_path / "a.npz") as archive:
            assert list(archive) == ["values", "fortran"]
            assert ("values" in archive, "other" in archive, archive.get("other")) == (True, False, None)
            require_same(archive["values"], values)
            require_same(archive["fortran"], np.asfortranarray(values))


def test_what_other_programs_write_into_the_header_of_a_npy_is_read():
    for header in (
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }   \n",
        "{'shape':(2L,1L),'fortran_order':False,'descr':'<f4'}",
        "{ 'fortran_order' : False , 'descr': '<f4', 'shape': (2, 1,), }".replace("' :", "':"),
    ):
        for version in (b"\x01\x00", b"\x02\x00", b"\x03\x00"):
            content = hostile.npy_header(header, version) + np.array([1, 2], "<f4").tobytes()
            if version != b"\x01\x00":
                content = content[:10] + b"\0\0" + content[10:]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("runtime.untrusted.read_regular", lambda path, at_most, content=content: content)
                require_same(read_npy(Path("x.npy")), np.array([[1], [2]], np.float32))


def test_booleans_are_true_or_false_whatever_their_bytes():
    values = make_array(parse_dtype("|b1"), (4,), False, b"\x00\x01\x02\xff")
    assert values.view(np.uint8).tolist() == [0, 1, 1, 1]


def test_an_archive_may_unpack_to_some_mb_and_twice_its_size_and_uncompressed_to_any(tmp_path: Path, monkeypatch):
    assert untrusted.FREE_UNPACKED_BYTES == 2**26
    monkeypatch.setattr(untrusted, "FREE_UNPACKED_BYTES", 2**20)
    path, values = tmp_path / "a.npz", np.zeros((3, 500_000), np.uint8)
    np.savez_compressed(path, values=values[:2])
    with NpzArchive(path) as archive:
        assert archive["values"].shape == (2, 500_000)
        with pytest.raises(UserError, match=r"'values' takes 1 MB unpacked, and [0-9,]+ bytes are left for a file of"):
            archive["values"]
    np.savez_compressed(path, values=values)
    with NpzArchive(path) as archive, pytest.raises(UserError, match=r"numpy\.savez writes it uncompressed"):
        archive["values"]
    np.savez(path, values=values)
    with NpzArchive(path) as archive:
        assert archive["values"].shape == values.shape
    with NpzArchive(path, at_most=10**6) as archive, pytest.raises(UserError, match="'values' takes 2 MB"):
        archive["values"]


def test_captions_and_statistics_are_read(tmp_path: Path):
    (tmp_path / "a.json").write_text('{"clip": [["ü 🤟 \\ud83e\\udd1f", 0, 2]]}', encoding="utf-8-sig")
    assert read_json(tmp_path / "a.json") == {"clip": [["ü 🤟 🤟", 0, 2]]}
    hostile.statistics(info={"clips": 3}).save(tmp_path / "s.npz")
    assert READERS["statistics"].read(tmp_path / "s.npz").info == {"clips": 3}


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What is said to every file of `hostile`, each read within 10 seconds, 200 MB and four times its size."""
    return hostile.said_by(hostile.__file__, tmp_path_factory.mktemp("hostile"))


@pytest.mark.parametrize(("kind", "case"), [(kind, case) for kind, reader in READERS.items() for case in reader.files])
def test_a_file_that_harms_is_one_sentence(kind: str, case: str, said):
    hostile.check_sentence(said[kind][case], READERS[kind], case)


def read_bytes(reader: Reader, content: bytes, folder: Path) -> object:
    """What a reader makes of a file of these bytes, None where it refuses them in a sentence."""
    path = folder / reader.name
    path.write_bytes(content)
    try:
        return reader.read(path)
    except UserError as error:
        sentence = str(error)
    assert reader.name in sentence
    assert "\n" not in sentence
    assert len(sentence) < 400 + len(str(path))
    return None


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*/*")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_fuzzing_found_is_read_or_refused(path: Path, tmp_path: Path):
    content = read_bytes(READERS[path.parent.name], path.read_bytes(), tmp_path)
    assert content is not None or not path.name.startswith("honest")


HONEST: dict[str, list[bytes]] = {
    "nmm": [pickle.dumps(hostile.honest_nmm(), protocol) for protocol in PROTOCOLS]
    + [hostile.pickled(facial_aus=OrderedDict(a=[1, 2.5, "x"])), hostile.pickled(eye_gaze=np.ma.ones((FRAMES, 4)))],
    "pose": [hostile.honest_npz(visibility=np.ones((FRAMES, 75))), hostile.zipped(("keypoints.npy", b""))],
    "prediction": [hostile.npy(np.ones((3, layout.POSE_DIM), kind)) for kind in ("f4", "f8", "i2", "U1")],
    "clips": [hostile.scores()],
    "captions": [b'{"clip": [["a", 0, 1], ["b", 1, 9]], "other": null}'],
}


@pytest.mark.parametrize("kind", HONEST)
@REPEATABLE
@given(draw=some.data())
def test_a_damaged_file_is_read_or_refused(kind: str, draw, tmp_path_factory: pytest.TempPathFactory):
    content = bytearray(draw.draw(some.sampled_from(HONEST[kind])))
    places = some.integers(0, len(content) - 1)
    for _ in range(draw.draw(some.integers(1, 4))):
        place, how = draw.draw(places), draw.draw(some.sampled_from(("set", "cut", "insert", "repeat")))
        if how == "set":
            content[place : place + 1] = draw.draw(some.binary(min_size=1, max_size=4))
        elif how == "insert":
            content[place:place] = draw.draw(some.binary(min_size=1, max_size=4))
        elif how == "repeat":
            content[place:place] = content[place : place + draw.draw(some.integers(1, 60))]
        else:
            del content[place : place + draw.draw(some.integers(1, 60))]
    read_bytes(READERS[kind], bytes(content), tmp_path_factory.getbasetemp())


PARTS = [
    *(bytes([code]) for code in range(128)),
    *(bytes([code]) for code in range(0x80, 0x97)),
    *(hostile.text(text) for text in ("f4", "U2", "O8", "<", "|", "latin1", "C", "é")),
    *map(hostile.whole, (0, 1, 2, 3, -1, 2**31)),
    *(hostile.data(b"x" * size) for size in (0, 1, 4, 8)),
    hostile.group(hostile.whole(2)),
    hostile.dtype("f4"),
    hostile.dtype("S4"),
    hostile.array((2,), hostile.dtype("f4"), hostile.data(b"x" * 8)),
    *(hostile.named(f"{module}.{name}") for module, name in PickleMachine(b"").known),
    b"q\x00",
    b"h\x00",
    b"q\x01",
    b"h\x01",
    b"00\n",
    b"1\n",
    b"K\x00\x85",
]


@settings(REPEATABLE, max_examples=600)
@given(parts=some.lists(some.sampled_from(PARTS), max_size=40))
def test_any_instructions_give_plain_values_or_a_refusal(parts: list[bytes]):
    try:
        content = PickleMachine(b"".join(parts) + b".").run()
    except Refusal:
        return
    pending = [content]
    while pending:
        value = pending.pop()
        if isinstance(value, dict | list | tuple):
            pending += [*value, *value.values()] if isinstance(value, dict) else value
        else:
            assert isinstance(value, str | bytes | int | float | bool | np.ndarray | np.generic | None)
            assert not isinstance(value, np.ndarray) or value.dtype.kind in "biufUS"


PLAIN = some.recursive(
    some.none()
    | some.booleans()
    | some.integers(-(2**63), 2**64 - 1)
    | some.floats()
    | some.text(max_size=5)
    | some.binary(max_size=300)
    | some.builds(make_values, some.sampled_from(KINDS), some.lists(some.integers(0, 3), max_size=3).map(tuple)),
    lambda inner: (
        some.lists(inner, max_size=4)
        | some.lists(inner, max_size=4).map(tuple)
        | some.dictionaries(some.text(max_size=3) | some.integers(-5, 5), inner, max_size=4)
    ),
    max_leaves=12,
)


@REPEATABLE
@given(content=PLAIN, protocol=some.sampled_from(PROTOCOLS))
def test_whatever_plain_values_python_pickles_are_read(content: object, protocol: int):
    require_same(PickleMachine(pickle.dumps(content, protocol)).run(), content)
