"""The report as one HTML file: opens from disk, asks for nothing from any network.

Names are loaded when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clifftop.lazy import names_from

if TYPE_CHECKING:
    from clifftop.report.page.build import BuiltPage, build_page
    from clifftop.report.page.render import render_page

__getattr__ = names_from(__name__, {"BuiltPage": "build", "build_page": "build", "render_page": "render"})

__all__ = ["BuiltPage", "build_page", "render_page"]
