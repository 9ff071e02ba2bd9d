"""Control characters are escaped on their way to the terminal."""

import pytest

from mixkd.console import in_one_line, printable, say, tell
from mixkd.errors import UserError
from mixkd.launchers.job import Outcome, explain

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\x08\x7f\u202e\u2028\udcff"
SHOWN = r"\x1b]0;owned\x07\x1b[2J\x9b31m\r\x08\x7f\u202e\u2028\udcff"


def test_what_a_terminal_would_obey_is_written_out() -> None:
    assert printable(ESCAPES) == SHOWN
    plain = "tab\tand\nline; é ± λ 中 '\"\\ [x]"
    assert printable(plain) == plain
    assert in_one_line("a\nb\t\x1b") == r"a\nb\t\x1b"


def test_all_ways_to_the_terminal_escape_what_it_would_obey(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell(ESCAPES)
    say(ESCAPES)
    Outcome("finished", ESCAPES, {ESCAPES: 1.0}).show()
    Outcome("failed", text=ESCAPES).show()
    tell(explain("list", UserError.of(ESCAPES, ESCAPES)))
    output = capsys.readouterr()
    for text in (output.out, output.err):
        assert SHOWN in text
        assert all(letter.isprintable() for letter in text.replace("\n", ""))
