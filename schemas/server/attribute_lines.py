"""Lines of definitions, such as ``name='x' : varchar(64)  # comment``, read by a regular expression.

DataJoint's parser takes half a millisecond for a line, which is a third of the processor time of ``meso db init``. A
line that is not of the plain form, or wrong, is read by that parser.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping

from datajoint import declare

#: No quotes, colons or ``#`` but where they have their meaning; DataJoint adds a ``#`` to each line.
PLAIN = re.compile(
    r"(?P<name>[a-z_][a-z0-9_]*) *"
    r"""(?:=(?P<default>[^:#'"\\\t\n]+|[ ]*'[^:#'"\\\t\n]*'[ ]*|[ ]*"[^:#'"\\\t\n]*"[ ]*))?"""
    r""": *(?P<type>[A-Za-z][^#'"\\\t\n]*|<[^<>#'"\\\t\n]+> *)"""
    r"#(?P<comment>[^\t\n]*)"
)


class AttributeParser:
    """Stands in the place of DataJoint's ``attribute_parser``, whose only method in use is this one."""

    def __init__(self) -> None:
        self.parser = declare.attribute_parser

    def parse_string(self, line: str, parse_all: bool = False) -> MutableMapping[str, str]:
        """Return the parts of a line by name: name, type, comment and, if there is one, default.

        Raises
        ------
        pyparsing.ParseException
            It is not the line of an attribute.
        """
        if found := PLAIN.fullmatch(line):
            return {name: part for name, part in found.groupdict().items() if part is not None}
        return self.parser.parse_string(line, parse_all=parse_all)


def register() -> None:
    """Make DataJoint use this module's parser."""
    if not isinstance(declare.attribute_parser, AttributeParser):
        declare.attribute_parser = AttributeParser()
