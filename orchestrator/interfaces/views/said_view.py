"""Short answers: a sentence for people, a few fields for machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.interfaces.views.page import Block, Page, Text, code, line


@dataclass(frozen=True, slots=True)
class Said:
    """Sentences, the commands that may come next, and the same as fields."""

    sentences: tuple[Text, ...]
    fields: Mapping[str, object]
    commands: tuple[str, ...] = ()

    def page(self) -> Page:
        """A line per sentence and per command."""
        blocks: list[Block] = [line(sentence) for sentence in self.sentences]
        return (*blocks, *(line(code(command), indent=2) for command in self.commands))

    def document(self) -> object:
        """The fields."""
        return dict(self.fields)
