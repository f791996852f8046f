"""Lines of definitions: the regular expression reads what DataJoint's parser reads, or leaves the line to it."""

from __future__ import annotations

import inspect
import re

import datajoint as dj
import pyparsing
import pytest
from datajoint import declare
from datajoint.jobs import Job

from schemas.server.attribute_lines import PLAIN, AttributeParser
from schemas.server.binding import table_modules

DATAJOINT_S = declare.build_attribute_parser()


def lines() -> list[str]:
    """Return the lines of attributes of all tables and of DataJoint's job tables."""
    tables = [cls for module in table_modules().values() for cls, _ in module.schema.declare_list]
    parts = [one for cls in tables for one in vars(cls).values() if inspect.isclass(one) and issubclass(one, dj.Part)]
    texts = [cls.definition for cls in (*tables, *parts)] + [inspect.getsource(Job._generate_definition)]
    found = [line.strip() for text in texts for line in text.splitlines()]
    return [line for line in found if re.match(r"[a-z_]+\s*(=[^ ].*)?\s*: [a-z<]", line)]


def parts(parser, line: str) -> dict[str, str]:
    """Return what DataJoint makes of the parts of a line."""
    found = dict(parser.parse_string(line + "#", parse_all=True).items())
    return {name: part.rstrip("#").strip() if name == "comment" else part.strip() for name, part in found.items()}


ODD = [
    "a:int32", "a : int32 #", "a : int32 # x # y ##", "a='' : varchar(8)", 'a = "x y" : varchar(8)  # é',
    "a=-1.5 : float64", "a='#' : varchar(8) # c", "a=':' : varchar(8)", "a='it''s' : varchar(8)",
    "a : enum('x', '#') # c", "a=null : <blob@store>", "a : <blob>  # of <x>", "a=CURRENT_TIMESTAMP(3) : datetime(3)",
    "a\t: int32\t# tab\tin", "a : decimal(4, 2) unsigned # :b", "a = : int32", "a=x'y : varchar(8)",
    'a="x\\"y" : varchar(8)', "a : int32 : b # c",
]  # fmt: skip


def test_every_line_is_read_as_datajoint_reads_it():
    ours = AttributeParser()
    ours.parser = DATAJOINT_S
    all_of_them = lines()
    assert len(all_of_them) > 450
    for line in (*all_of_them, *ODD):
        try:
            expected = parts(DATAJOINT_S, line)
        except pyparsing.ParseException as error:
            expected = error.args
        try:
            found = parts(ours, line)
        except pyparsing.ParseException as error:
            found = error.args
        assert found == expected, line
    assert sum(PLAIN.fullmatch(line + "#") is not None for line in all_of_them) > 0.98 * len(all_of_them)


@pytest.mark.parametrize("line", ["A : int32", "a int32", "1a : int32", "a : 8", "a : <blob", ": int32", "a="])
def test_a_wrong_line_is_refused_with_datajoints_own_message(line):
    assert PLAIN.fullmatch(line + "#") is None
    ours = AttributeParser()
    ours.parser = DATAJOINT_S
    with pytest.raises(pyparsing.ParseException) as found:
        ours.parse_string(line + "#", parse_all=True)
    with pytest.raises(pyparsing.ParseException) as expected:
        DATAJOINT_S.parse_string(line + "#", parse_all=True)
    assert str(found.value) == str(expected.value)
