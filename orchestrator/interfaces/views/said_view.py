"""Short answers: a sentence for people, a few fields for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def said_of(several: Sequence[Said]) -> Said:
    """One answer of several: all their sentences and commands; their fields as a list where there is more than one."""
    if len(several) == 1:
        return several[0]
    sentences = tuple(sentence for each in several for sentence in each.sentences)
    commands = tuple(command for each in several for command in each.commands)
    return Said(sentences, {"runs": [dict(each.fields) for each in several]}, commands)
