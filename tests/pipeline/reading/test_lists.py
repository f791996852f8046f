"""Lists of sessions as people write them: forms, comments, Windows, and lines that name nothing."""

from __future__ import annotations

import pytest

from pipeline.errors import DataError
from pipeline.reading.lists import read_session_list
from pipeline.reading.names import session_name

EID = "5ce2e17e-8471-42d4-8a16-21949710b328"
LINES = [
    "# canonical sessions, of 2026", "", EID, "  5ce2e17e   # the first characters", "SP058/2024-06-18/002",
    r"Y:\lab\Subjects\SP059\2024-06-19\001", '"SP060/2024-06-20/1"', "SP058/2024-06-18/002",
]  # fmt: skip
NAMES = {
    EID: 3, "5ce2e17e": 4, "SP058/2024-06-18/002": 5, r"Y:\lab\Subjects\SP059\2024-06-19\001": 6,
    "SP060/2024-06-20/1": 7,
}  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        "\n".join(LINES).encode(),
        ("\r\n".join(LINES) + "\r\n").encode("utf-8-sig"),  # Windows' editor
        "\r\n".join(LINES).encode("utf-16"),  # its shell
    ],
)
def test_names_have_the_numbers_of_their_lines(tmp_path, content):
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    assert read_session_list(path) == NAMES
    assert session_name(r"Y:\lab\Subjects\SP059\2024-06-19\001").place.subject == "SP059"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"{EID}\nnonsense\nSP058/2024-02-31/001\n",
            r"2 lines name no session .*line 2: 'nonsense'.*; line 3: 'SP058/",
        ),
        ("# nothing\n\n", "the list is empty"),
        ("\n".join(f"line {i}" for i in range(14)), "line 10: .*; 4 more lines"),
        ("SP058/2024-06-18/002 5ce2e17e\n", "line 1: "),  # two on a line
    ],
)
def test_lines_that_name_no_session_are_named(tmp_path, text, message):
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as error:
        read_session_list(path)
    assert str(path) in str(error.value) and "8 or more of its first characters" in str(error.value)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"\x93NUMPY\x01\x00\xff\xfe")
    with pytest.raises(DataError, match="not text"):
        read_session_list(path)
