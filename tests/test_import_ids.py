"""A clip's ID is its recording's name, or path, if a clip can have that name and no other one has it."""

from pathlib import Path

import pytest
from recordings import sources

from importers.texts import clip_name
from runtime.errors import UserError


@pytest.mark.parametrize(
    ("name", "by_path", "expected"),
    [
        ("train/clip_a.mp4", False, "clip_a"),
        ("hello/001.mp4", True, "hello_001"),
        ("a.b.c", False, "a.b.c"),
        ("windows\\clip.MP4", False, "clip"),
        ("", False, ""),
        ("x/ hello .mp4", False, "hello"),
        (" x/hello you .mp4", True, "x_hello you"),
    ],
)
def test_clip_names(name: str, by_path: bool, expected: str):
    assert clip_name(name, (".mp4",), by_path) == expected


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gr\udcfcn.mp4", r"the name 'gr\\udcfcn.mp4' can't be a clip's, as it is not UTF-8"),
        ("gr\udcfcn/clip.mp4", "as it is not UTF-8"),
        ("  .mp4", "as no ID is left of it"),
        ("..", "as no ID is left of it"),
        ("a|b.mp4", r"the name 'a\|b.mp4' can't be a clip's, as it holds '\|'; rename it"),
        ("a\nb.mp4", r"as it holds '\\n'; rename it"),
        ("a\u202eb.mp4", r"as it holds '\\u202e'; rename it"),
    ],
)
def test_a_name_that_no_clip_can_have_is_told_why(name: str, said: str):
    with pytest.raises(UserError, match=said):
        sources(name)


def test_names_that_differ_by_blanks_at_their_ends_are_one(tmp_path: Path):
    assert [*sources("hello .mp4", " you.mp4")] == ["hello", "you"]
    with pytest.raises(UserError, match=r"hello \.mp4 and hello\.mp4 would both be called 'hello'; rename one"):
        sources("hello .mp4", "hello.mp4")
