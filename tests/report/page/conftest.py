"""Reports to look at, and a browser to look with: one Chromium for all tests, driven through a pipe."""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from clifftop.analysis.cliffs import cliffs_by_rule
from clifftop.analysis.decomposition import decompose
from clifftop.analysis.evidence import Arm
from clifftop.analysis.frontier import find_frontier
from clifftop.audit.document import AuditDocument, AuditKind, BoundRow, CheckRow, CurveRow, Verdict
from clifftop.audit.estimators import LowerBound
from clifftop.report.conclusions import Conclusion, Kind
from clifftop.report.drawings import drawings
from clifftop.report.material import Material, Source
from clifftop.report.page import render_page
from clifftop.testing.frontiers import Parts, crossed, logistic, simulated_evidence

RATES = (0.05, 0.1, 0.2, 0.5, 1.0)
CLIPS = (0.1, 0.3, 1.0, 3.0, 10.0)
ARMS = (Arm.BOTH, Arm.NEITHER, Arm.CLIPPING, Arm.NOISE)
COST = {
    "delta": 1e-5,
    "single": {"epsilon_lower": 29.9, "epsilon_upper": 30.0, "is_cost_of_the_search": False},
    "composition": {"epsilon_lower": "inf", "epsilon_upper": "inf", "why": "shared noise"},
    "selection": [
        {"law": "geometric", "mean": 10.0, "epsilon_upper": 71.23456789},
        {"law": "logarithmic", "mean": 10.0, "epsilon_upper": 80.1},
    ],
    "public": {"epsilon_lower": 0.0, "epsilon_upper": 0.0},
    "sentences": {
        "single": "One run alone costs epsilon <= 30 at delta = 1e-05. This is not the cost of the search.",
        "composition": "Runs of one seed share their noise, so all of them have no finite epsilon.",
        "selection": "`clifftop tune` would cost epsilon <= 71.24.",
        "public": "Settings found on public data cost nothing.",
    },
}
CONCLUSIONS = (
    Conclusion(
        title="Clipping costs less than a point once the learning rate is tuned",
        text="With clip norm 0.1 and learning rate 0.1, clipping alone loses 18.6 points (95% interval 18.1 "
        "to 19.1); with the learning rate chosen for each cell on other seeds it loses 0.4 (0.2 to 0.6).",
        kind=Kind.CLAIM,
        cells=(3, 7),
    ),
    Conclusion(
        title="The frontier is smooth",
        text="The steepest fall, from epsilon 2 to 1, is 6.1 points (5.2 to 7.0), no more than its "
        "neighbours'.",
        kind=Kind.MEASURE,
    ),
    Conclusion(
        title="The search is not paid for",
        text="Every epsilon here is of one run alone; the search over all of them has no finite epsilon, "
        "since runs of one seed share their noise.",
        kind=Kind.CAUTION,
    ),
)
FPR = tuple(np.geomspace(1e-4, 1.0, 300).tolist())
AUDITS = (
    AuditDocument(
        kind=AuditKind.MODEL,
        subject="sweep.toml",
        claim="epsilon 3 at delta 1e-05",
        verdict=Verdict.NOT_REFUTED,
        reason="no attack passes what the claim permits",
        curves=tuple(
            CurveRow(
                name=name,
                fpr=FPR,
                tpr=tuple(rate**power for rate in FPR),
                lower=tuple(0.8 * rate**power for rate in FPR),
                upper=tuple(min(1.0, 1.2 * rate**power) for rate in FPR),
            )
            for name, power in (("loss threshold", 0.9), ("LiRA, online", 0.7))
        ),
        permitted=CurveRow(name="any", fpr=FPR, tpr=tuple(min(1.0, 20 * rate) for rate in FPR)),
        notes=("Models share their pool of records.",),
    ),
    AuditDocument(
        kind=AuditKind.RUN,
        subject="my_audit:training",
        claim="epsilon 4 at delta 1e-05",
        verdict=Verdict.REFUTED,
        reason="the claimed curve is refuted",
        checks=(
            CheckRow(name="noise-scale", passed=False, found="half of it", must_hold="all", p_value=1e-9),
            CheckRow(name="sensitivity", passed=True, found="1", must_hold="at most 1"),
        ),
        bounds=tuple(
            BoundRow(
                name=name,
                heuristic=heuristic,
                bound=LowerBound(
                    epsilon=shown, delta=1e-5, confidence=0.95, assumptions=(), detection_limit=20.0
                ),
            )
            for name, shown, heuristic in (
                ("claimed curve", 8.9, False),
                ("learned attack", 0.0, False),
                ("mean difference", 9.5, True),
            )
        ),
        figures=(("claimed epsilon", 4.0),),
    ),
)


def planted(setting, epsilon):
    """Noise hurts at large clip norms, clipping at small steps."""
    step = setting["lr"] * setting["clip_norm"]
    clipping = 0.18 / (1 + step / 0.05)
    noise = (0.9 - logistic()(epsilon)) * (0.6 + 0.1 * setting["clip_norm"] ** 0.5)
    return Parts(original=0.93, clipping=clipping, noise=min(noise, 0.5), interaction=0.01)


def evidence_of_size(*, levels, rates, clips, seeds, arms=(Arm.BOTH, Arm.NEITHER), seed=0):
    return simulated_evidence(
        rng=np.random.default_rng(seed),
        epsilons=tuple(np.geomspace(0.1, 30, levels).round(4).tolist()),
        cells=crossed({"clip_norm": clips, "lr": rates}),
        parts=planted,
        arms=arms,
        seeds=seeds,
    )


def material_of(evidence, *, title="A sweep of a small network", concluded=True, **more):
    """A report's material around evidence, as `load_material` makes it of a folder."""
    source = Source(
        folder=Path("out/sweep"),
        name=evidence.name,
        title=title,
        runs=pl.DataFrame(),
        num_train=4000,
        num_test=1000,
        caveats=(
            "Settings are compared on the private data; the epsilon of one run does not pay for that choice.",
        ),
        training_seconds=12.5,
        **more,
    )
    return Material(
        source=source,
        evidence=evidence,
        frontier=find_frontier(evidence),
        decomposition=decompose(evidence) if concluded else None,
        curves=None,
        cliffs=cliffs_by_rule(evidence) if concluded else {},
        conclusions=CONCLUSIONS,
        card=None,
        audits=AUDITS if concluded else (),
    )


@pytest.fixture(scope="session")
def small():
    """72 private cells of ten seeds, with every arm that explains them and the cost of the search."""
    made = evidence_of_size(levels=8, rates=(0.1, 0.3, 1.0), clips=(0.1, 1.0, 10.0), seeds=10, arms=ARMS)
    return material_of(made, cost=COST)


@pytest.fixture(scope="session")
def page(small):
    return render_page(small, drawings(small))


class Chromium:
    """A headless Chromium that is spoken to in its own protocol, one JSON message after another."""

    FLAGS = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-dev-shm-usage",
        "--disable-sync",
        "--hide-scrollbars",
        "--no-first-run",
        "--remote-debugging-pipe",
    )

    def __init__(self, program, folder):
        ours_in, its_out = os.pipe()
        its_in, ours_out = os.pipe()
        call = f'exec "$@" 3<&{its_in} 4>&{its_out}'
        command = [
            "bash",
            "-c",
            call,
            "bash",
            program,
            *self.FLAGS,
            f"--user-data-dir={folder}",
            "about:blank",
        ]
        self._process = subprocess.Popen(command, pass_fds=(its_in, its_out), stderr=subprocess.DEVNULL)
        os.close(its_in)
        os.close(its_out)
        self._in, self._out = os.fdopen(ours_in, "rb"), os.fdopen(ours_out, "wb")
        self._number, self._rest, self.events = 0, b"", []
        target = self.send("Target.createTarget", session=None, url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", session=None, targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method, *, session="own", **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _next(self):
        while b"\0" not in self._rest:
            piece = os.read(self._in.fileno(), 1 << 20)
            assert piece, "the browser ended"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def open(self, path, *, width=1280, height=800, dark=False, phone=False):
        """Open a page as this window shows it, and wait until a chart is drawn."""
        self.events = []
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Page.navigate", url=path.as_uri())
        self.wait(
            "document.querySelector('.chart[data-drawn]') !== null || document.readyState === 'complete'"
        )

    def run(self, script):
        """The value of an expression in the page."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition, *, seconds=20.0):
        """Wait until an expression holds in the page."""
        until = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < until, f"waited {seconds} s for {condition}"
            time.sleep(0.02)

    def click(self, x, y):
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            pressed = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **pressed)

    def point_at(self, x, y):
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def screenshot(self, path, *, whole=False):
        found = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def pdf(self):
        return base64.b64decode(self.send("Page.printToPDF")["data"])

    @property
    def complaints(self):
        """What the console and the log said, errors that nobody caught, and refused requests."""
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [event["params"] for event in self.events if event.get("method") in kinds]

    @property
    def requests(self):
        """Addresses that were asked for, but for data inside the page."""
        sent = [
            e["params"]["request"]["url"]
            for e in self.events
            if e.get("method") == "Network.requestWillBeSent"
        ]
        return [url for url in sent if not url.startswith(("data:", "blob:"))]

    def close(self):
        self._process.terminate()
        self._process.wait(timeout=20)
        self._in.close()
        self._out.close()


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium on this machine")
    opened = Chromium(found, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def ten_thousand():
    """10,000 private cells of one seed."""
    made = evidence_of_size(levels=400, rates=RATES, clips=CLIPS, seeds=1)
    return material_of(made, concluded=False)
