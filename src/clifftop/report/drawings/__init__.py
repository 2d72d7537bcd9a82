"""The charts of a report: each an interactive Vega-Lite view of the page, and a PNG, SVG or PDF file.

Charts name their data. `page_data` has every table once, by column; `page_config` has the colours of the
page's two themes; `Drawing.page_specs` has the views.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clifftop.lazy import names_from

if TYPE_CHECKING:
    from clifftop.report.drawings.choice import drawings, page_data
    from clifftop.report.drawings.drawing import Drawing, FileFormat, Panel, Table, page_data_of, rows
    from clifftop.report.drawings.look import page_config

__getattr__ = names_from(
    __name__,
    {
        "Drawing": "drawing",
        "FileFormat": "drawing",
        "Panel": "drawing",
        "Table": "drawing",
        "drawings": "choice",
        "page_config": "look",
        "page_data": "choice",
        "page_data_of": "drawing",
        "rows": "drawing",
    },
)

__all__ = [
    "Drawing",
    "FileFormat",
    "Panel",
    "Table",
    "drawings",
    "page_config",
    "page_data",
    "page_data_of",
    "rows",
]
