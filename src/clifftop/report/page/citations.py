"""The papers that a page may cite. A page lists those that its text refers to, and no other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, kw_only=True)
class Citation:
    """A paper.

    Attributes:
        key: of its BibTeX entry.
        kind: of that entry.
        authors: as BibTeX has them, joined by "and"; empty where the record names none.
        title: as published.
        where: the venue, by the name of its BibTeX field.
        year: of publication.
        doi: or another name that lasts; empty where there is none.
    """

    key: str
    kind: str
    authors: str
    title: str
    where: tuple[str, str]
    year: int
    doi: str = ""

    def line(self) -> str:
        """The citation as one line of text.

        >>> CITATIONS["mironov2017"].line()
        'Mironov (2017). Renyi Differential Privacy. IEEE Computer Security Foundations Symposium.'
        """
        if not self.authors:
            return f"{self.title} ({self.year}). {self.where[1]}."
        names = [name.partition(",")[0] for name in self.authors.split(" and ")]
        who = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
        return f"{who} ({self.year}). {self.title}. {self.where[1]}."

    def bibtex(self) -> str:
        """The BibTeX entry."""
        fields = {"author": self.authors, "title": f"{{{self.title}}}", self.where[0]: self.where[1]}
        fields |= {"year": str(self.year), "doi": self.doi}
        body = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items() if value)
        return f"@{self.kind}{{{self.key},\n{body}}}"


_ALL = (
    Citation(
        key="abadi2016",
        kind="inproceedings",
        authors="Abadi, Martin and Chu, Andy and Goodfellow, Ian and McMahan, H. Brendan and Mironov, Ilya "
        "and Talwar, Kunal and Zhang, Li",
        title="Deep Learning with Differential Privacy",
        where=("booktitle", "ACM Conference on Computer and Communications Security"),
        year=2016,
        doi="10.1145/2976749.2978318",
    ),
    Citation(
        key="holm1979",
        kind="article",
        authors="Holm, Sture",
        title="A Simple Sequentially Rejective Multiple Test Procedure",
        where=("journal", "Scandinavian Journal of Statistics 6(2)"),
        year=1979,
    ),
    Citation(
        key="papernot2022",
        kind="inproceedings",
        authors="Papernot, Nicolas and Steinke, Thomas",
        title="Hyperparameter Tuning with Renyi Differential Privacy",
        where=("booktitle", "International Conference on Learning Representations"),
        year=2022,
    ),
    Citation(
        key="ponomareva2023",
        kind="article",
        authors="Ponomareva, Natalia and Hazimeh, Hussein and Kurakin, Alex and Xu, Zheng and Denison, "
        "Carson and McMahan, H. Brendan and Vassilvitskii, Sergei and Chien, Steve and Thakurta, Abhradeep "
        "Guha",
        title="How to DP-fy ML: A Practical Guide to Machine Learning with Differential Privacy",
        where=("journal", "Journal of Artificial Intelligence Research 77"),
        year=2023,
        doi="10.1613/jair.1.14649",
    ),
    Citation(
        key="nist800226",
        kind="techreport",
        authors="Near, Joseph and Darais, David and Lefkovitz, Naomi and Howarth, Gary",
        title="Guidelines for Evaluating Differential Privacy Guarantees",
        where=("institution", "NIST Special Publication 800-226"),
        year=2025,
        doi="10.6028/NIST.SP.800-226",
    ),
    Citation(
        key="okabe2008",
        kind="misc",
        authors="Okabe, Masataka and Ito, Kei",
        title="Color Universal Design: How to Make Figures and Presentations That Are Friendly to "
        "Colorblind People",
        where=("howpublished", "University of Tokyo"),
        year=2008,
    ),
    Citation(
        key="dong2022",
        kind="article",
        authors="Dong, Jinshuo and Roth, Aaron and Su, Weijie J.",
        title="Gaussian Differential Privacy",
        where=("journal", "Journal of the Royal Statistical Society B 84(1)"),
        year=2022,
        doi="10.1111/rssb.12454",
    ),
    Citation(
        key="bagdasaryan2019",
        kind="inproceedings",
        authors="Bagdasaryan, Eugene and Poursaeed, Omid and Shmatikov, Vitaly",
        title="Differential Privacy Has Disparate Impact on Model Accuracy",
        where=("booktitle", "Advances in Neural Information Processing Systems"),
        year=2019,
    ),
    Citation(
        key="guo2017",
        kind="inproceedings",
        authors="Guo, Chuan and Pleiss, Geoff and Sun, Yu and Weinberger, Kilian Q.",
        title="On Calibration of Modern Neural Networks",
        where=("booktitle", "International Conference on Machine Learning"),
        year=2017,
    ),
    Citation(
        key="nasr2023",
        kind="inproceedings",
        authors="Nasr, Milad and Hayes, Jamie and Steinke, Thomas and Balle, Borja and Tramer, Florian and "
        "Jagielski, Matthew and Carlini, Nicholas and Terzis, Andreas",
        title="Tight Auditing of Differentially Private Machine Learning",
        where=("booktitle", "USENIX Security Symposium"),
        year=2023,
    ),
    Citation(
        key="steinke2023",
        kind="inproceedings",
        authors="Steinke, Thomas and Nasr, Milad and Jagielski, Matthew",
        title="Privacy Auditing with One (1) Training Run",
        where=("booktitle", "Advances in Neural Information Processing Systems"),
        year=2023,
    ),
    Citation(
        key="nocliff",
        kind="misc",
        authors="",
        title="No Collapse-Level Privacy Cliff on a Simple DP-SGD Benchmark: Clipping Drives Most Utility "
        "Loss",
        where=("howpublished", "clawRxiv 2603.00422"),
        year=2026,
    ),
    Citation(
        key="mironov2017",
        kind="inproceedings",
        authors="Mironov, Ilya",
        title="Renyi Differential Privacy",
        where=("booktitle", "IEEE Computer Security Foundations Symposium"),
        year=2017,
        doi="10.1109/CSF.2017.11",
    ),
)

CITATIONS: Mapping[str, Citation] = {citation.key: citation for citation in _ALL}
"""By key."""
