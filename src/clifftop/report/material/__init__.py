"""What a report is made of: a folder read, and everything that is concluded from it.

Names are loaded when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clifftop.lazy import names_from

if TYPE_CHECKING:
    from clifftop.report.material.build import load_material, material_of
    from clifftop.report.material.source import Source, load_source
    from clifftop.report.material.values import Material

__getattr__ = names_from(
    __name__,
    {
        "Material": "values",
        "Source": "source",
        "load_material": "build",
        "load_source": "source",
        "material_of": "build",
    },
)

__all__ = ["Material", "Source", "load_material", "load_source", "material_of"]
