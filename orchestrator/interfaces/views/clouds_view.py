"""Where the simulated clouds are, and the settings that point isoflop at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.interfaces.views.page import Block, Line, Page, Table, Title, code, left, line

if TYPE_CHECKING:
    from orchestrator.simulation.clouds.serve import Served


@dataclass(frozen=True, slots=True)
class CloudsReport:
    """What is served; `written` is the file that holds the settings, "" where there is none."""

    served: Served
    written: str
    pid: int

    def page(self) -> Page:
        """Addresses, then the settings to copy."""
        rows = tuple(self.served.urls.items())
        blocks: list[Block] = [Title("Simulated clouds"), Table((left("cloud"), left("address")), rows), Line()]
        if self.written:
            blocks += [line("the settings are in ", code(self.written), ": look at the market with"), Line()]
            blocks.append(line(code(f"ISOFLOP_CONFIG={self.written} isoflop offers --live"), indent=2))
        else:
            blocks += [Title("Settings for config.toml (--write FILE puts them into a file)")]
            blocks += [line(code(text), indent=2) for text in self.served.configuration().splitlines()]
        return (*blocks, Line(), line("serving until Ctrl-C"))

    def document(self) -> object:
        """The same as fields."""
        return {
            "urls": dict(self.served.urls),
            "providers": self.served.tables,
            "written": self.written,
            "pid": self.pid,
        }
