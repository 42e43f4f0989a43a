"""Values that are written as one word of text and mean more: the base of durations, sizes and cron lines."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

_SHOWN = 60


def shown(value: object) -> str:
    """Write a wrong value for a message, but not all of a long one."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


class TextValue:
    """A value that is parsed from text, prints as that text, and stands in JSON Schema as a string.

    A subclass sets the three class variables and implements :meth:`parse`.
    """

    json_pattern: ClassVar[str]
    json_examples: ClassVar[tuple[str, ...]]
    meaning: ClassVar[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the value that a text means.

        Raises:
            ValueError: the text means nothing; the message says what would.
        """
        raise NotImplementedError

    @classmethod
    def _validate(cls, value: object) -> Self:
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        raise ValueError(f"must be text such as {cls.json_examples[0]!r}, not {shown(value)}")

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "pattern": cls.json_pattern}


@dataclass(frozen=True)
class Words:
    """An allow-list for text: used as ``Annotated[str, Words(pattern, rule)]``.

    Attributes:
        pattern: the regular expression that the whole text must match; JavaScript reads it too.
        rule: what a person may write, for the error message.
        also: a further test for what an expression cannot say; it raises ``ValueError``.
        max_bytes: longest text in UTF-8 bytes, or ``None``.
    """

    pattern: str
    rule: str
    also: Callable[[str], None] | None = None
    max_bytes: int | None = None

    def check(self, text: str) -> str:
        """Return the text, or raise ``ValueError`` with the rule."""
        # `$` matches before a final line break, so the whole text is asked for.
        if not re.fullmatch(self.pattern, text):
            raise ValueError(f"{shown(text)} is not allowed: write {self.rule}")
        if self.max_bytes is not None and len(text.encode()) > self.max_bytes:
            raise ValueError(f"{shown(text)} is longer than {self.max_bytes} bytes")
        if self.also is not None:
            self.also(text)
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        inner = schema["schema"] if schema["type"] == "function-after" else schema
        return {**handler(inner), "pattern": self.pattern}
