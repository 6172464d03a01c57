"""What long work says of itself where nobody can watch a bar."""

from __future__ import annotations

from uslnet_core.terminal import bars, lines


def test_a_pipe_gets_lines_instead_of_bars(capsys):
    report = lines(every=0)
    report("contrastive learning, simclr", 3, 192)
    assert capsys.readouterr().err == "contrastive learning, simclr: 3 of 192\n"


def test_no_more_than_one_line_a_minute(capsys):
    with bars() as report:
        for step in range(1, 100):
            report("segmenter", step, 100)
    assert capsys.readouterr().err == ""
