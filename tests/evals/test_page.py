"""The page of runs stands alone, says what the runs say, and is readable on a phone, in light and in dark."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from markupsafe import Markup

from gedanken.cli import run
from gedanken.evals.charts import Bar, Curve, Dot, alone, bars, coverage_curves, horizon_curves, reliability_diagram
from gedanken.evals.control_learning import learning_curve
from gedanken.evals.errors import EvalError, RunError
from gedanken.evals.failures import MOST, worst
from gedanken.evals.figures import figures
from gedanken.evals.main import load_suite
from gedanken.evals.open_loop import COUNTS, HORIZONS
from gedanken.evals.other_actions import ANSWERS
from gedanken.evals.page import Run, page
from gedanken.evals.run_folder import RunFolder

TASKS = ("BabyAI-GoToObj-v0", "BabyAI-UnlockLocalDist-v0")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def episode(task: str, seed: int, arm: str, success: bool) -> dict[str, Any]:
    common = {
        "task": task,
        "seed": seed,
        "arm": arm,
        "success": success,
        "steps": 5 + seed,
        "goal": "open <b>a</b> door",
    }
    thought = {"predicted": (seed + 1) / 12, "plan": "pick_up(red key) → open(door)", "decisions": 1, "replans": 1}
    verdicts = [{"round": 0, "plan": "open(door)", "success": 0.25, "satisfies": 0.5}]
    thought |= {"verdicts": verdicts, "actions": [0, 0, 2], "trace": None}
    return common | (thought if arm == "loop" else {})


def situation(seed: int) -> dict[str, Any]:
    numbers = {"written": False, "carried_out": 0.5, "satisfies": 0.5, "expected_steps": 5.0, "disagreement": 0.0}
    plans = [
        {"kind": "right", "plan": "go_to(key)", "predicted": 0.9, "success": True, "done": True, "steps": 4, **numbers},
        {"kind": "wrong order", "plan": "go_to(box)", "predicted": 0.05 * seed, "success": False, "done": True}
        | numbers,
    ]
    plans[1]["steps"] = 9
    members = {"all": [0, 1], "made": [0, 1], "written": []}
    rest = {"plans": plans, "members": members, "picked": {"all": 0, "made": 0}, "first_written": None}
    return {"task": TASKS[0], "seed": seed, "arm": "critic", "goal": "go to the key", **rest}


def foreseen(seed: int) -> dict[str, Any]:
    counts = dict.fromkeys(COUNTS, 0.0) | {"beginnings": 4.0, "changed": 10.0, "changed_right": 8.0}
    counts |= {"visible": 40.0, "visible_right": 36.0, "frozen_right": 20.0}
    signals = {"reward": [[0.9, True], [0.1, False]], "ending": [[0.8, True], [0.2, False]]}
    horizons: dict[str, Any] = {"horizons": dict.fromkeys(map(str, HORIZONS), counts)}
    horizons["rollouts"] = {str(h): [[0.1, False, False], [0.5 + h, True, h > 1]] for h in HORIZONS}
    horizons["actions"] = {"left": dict.fromkeys(ANSWERS, 1.0)}
    wall, ball, door = [2, 5, 0], [6, 0, 0], [4, 2, 2]
    real = [[wall] * 7, [wall, ball, door, *[[1, 0, 0]] * 4], *[[[1, 0, 0]] * 7] * 4, [[0, 0, 0]] * 7]
    horizons["strip"] = {"1": [real, real], "2": [[real[0], real[0], *real[2:]], real]}
    return {"task": TASKS[0], "seed": seed, "arm": "model", "frames": 4, "nats": 4.0 + seed, **signals, **horizons}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    arms = {"loop": 8, "llm-alone": 5, "random": 1}
    found = []
    for suite, samples in (
        ("babyai-local", [episode(t, s, a, s < n) for t in TASKS for s in range(12) for a, n in arms.items()]),
        ("babyai-local", [episode(t, s, a, s < n - 1) for t in TASKS for s in range(12) for a, n in arms.items()]),
        ("rehearsal", [situation(seed) for seed in range(15)]),
        ("world-model", [foreseen(seed) for seed in range(12)]),
    ):
        folder = RunFolder.create(tmp_path / "runs", suite, {"limit": 12, "checkpoint": "tiny"}, {"seed": 0})
        for sample in samples:
            folder.append(sample)
        found.append(folder.id)
    return found


@pytest.fixture
def written(runs: list[str], tmp_path: Path) -> Path:
    assert run(["report", *runs, "--out", str(tmp_path / "page.html")]) == 0
    return tmp_path / "page.html"


def test_the_page_stands_alone_and_says_what_the_runs_say(written: Path, runs: list[str]) -> None:
    text = written.read_text()
    assert "://" not in text and "<script" not in text and "src=" not in text and "url(" not in text, "no network"
    assert "default-src 'none'" in text and "NOT FINISHED" in text, "nobody finished these runs"
    for id in runs:
        assert f'id="{id}"' in text and f'href="#{id}"' in text
    assert "66.7 [39.1, 86.2]" in text, "8 of 12, Wilson"
    assert "66.7 [46.7, 82.0]" in text, "16 of 24 over both levels"
    assert "open &lt;b&gt;a&lt;/b&gt; door" in text and "<b>" not in text, "goals are text, not markup"
    assert "all visible cells, if the world froze" in text and "90.0 [90.0, 90.0]" in text
    assert "without a partner" not in text and "What changed beyond noise" in text
    charts = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.S)]
    drawn = 2 * (1 + 2 + 1) + 2 + 5 + MOST
    assert len(charts) == drawn, "bars twice, levels, reliability; reliability and kinds; foresight, and its strips"
    assert "round 0: open(door), predicted 25%, means it 50%" in text and "did left ×2, forward" in text
    assert page([Run.read(id) for id in runs]) == page([Run.read(id) for id in runs]), "written twice, the same twice"


def test_the_worst_failures_are_those_that_were_least_expected(written: Path) -> None:
    failed = worst(
        load_suite("babyai-local"), [episode(TASKS[0], s, a, s < 8) for s in range(12) for a in ("random", "loop")]
    )
    assert [failure.predicted for failure in failed] == ["100%", "92%", "83%", "75%"]
    assert failed[0].plan == "pick_up(red key) → open(door)"
    assert failed[0].happened == "not reached after 16 actions, planned anew 1 time"
    assert failed[0].command == f"gedanken run --world {TASKS[0]} --seed 11"
    judged = worst(load_suite("rehearsal"), [situation(seed) for seed in range(15)])
    assert [(f.predicted, f.happened) for f in judged[:2]] == [
        ("70%", "not reached after 9 actions"),
        ("65%", "not reached after 9 actions"),
    ]
    assert len(judged) == 5, "what was predicted rightly is no failure"
    assert "seed 11" in worst(load_suite("world-model"), [foreseen(seed) for seed in range(12)])[0].where
    assert worst(load_suite("speed"), []) == []
    assert "gedanken run --world BabyAI-UnlockLocalDist-v0 --seed 11" in written.read_text()


def numbers(element: ElementTree.Element, *names: str) -> list[float]:
    return [float(element.get(name, "nan")) for name in names]


def test_charts_draw_to_scale() -> None:
    chart = ElementTree.fromstring(bars([Bar("a & b", 0.5, 0.25, 1.0)], "about <this>"))
    [bar] = chart.findall("rect")
    assert numbers(bar, "x", "width") == [84, 80], "half of 160"
    assert numbers(chart.findall("line[@class='whisker']")[0], "x1", "x2") == [84 + 40, 84 + 160]
    assert [text.text for text in chart.findall("text")][-2:] == ["a & b", "50.0 [25.0, 100.0]"]
    assert chart.get("aria-label") == "about <this>" == chart.findtext("title")
    diagram = ElementTree.fromstring(reliability_diagram([Dot(0.2, 0.6, 0.5, 0.7, 10)], ""))
    assert numbers(diagram.findall("circle")[0], "cx", "cy") == [44 + 60, 8 + 120]
    assert "n = 10" in (diagram.findtext("circle/title") or "")
    points = ((1, 1.0, 1.0, 1.0), (4, 0.5, 0.25, 0.75), (16, 0.0, 0.0, 0.0))
    curves = ElementTree.fromstring(horizon_curves([Curve("model", points, "main")], ""))
    assert curves.findall("polyline")[0].get("points") == "54.00,8.00 194.00,103.00 334.00,198.00"


def test_what_is_doubted_least_is_drawn_first() -> None:
    points = ((0.1, 0.0, 0.0, 0.0), (0.5, 0.25, 0.0, 0.5), (1.0, 1.0, 1.0, 1.0))
    chart = ElementTree.fromstring(coverage_curves([Curve("1 action ahead", points, "third")], ""))
    assert chart.findall("polyline")[0].get("points") == "82.00,198.00 194.00,150.50 334.00,8.00"
    alone_ = ElementTree.fromstring(alone(coverage_curves([Curve("a & b", points, "third")], "")))
    assert alone_.tag == "{http://www.w3.org/2000/svg}svg" and "--third" in (alone_[-1].text or "")


def classes(strip: Markup | None, kind: str) -> list[str]:
    assert strip is not None
    found = [element.get("class", "") for element in ElementTree.fromstring(strip).iter()]
    return [name for name in found if name.startswith(kind)]


def test_what_was_imagined_stands_above_what_happened() -> None:
    strip = worst(load_suite("world-model"), [foreseen(0)])[0].strip
    assert classes(strip, "wrong") == ["wrong"] * 6, "a row of cells 2 actions ahead, but the one that is a wall"
    assert (
        classes(strip, "thing red") == ["thing red"] * 3
        and classes(strip, "thing blue door") == ["thing blue door locked"] * 3
    )
    assert len(classes(strip, "agent")) == 4, "two views, twice"
    horizons = {"1": {"n": 2, "error": 1.0}}
    far = {"task": "CartPole-v1", "seed": 4, "arm": "model", "acting": "policy", "horizons": horizons}
    near = far | {"seed": 5, "horizons": {"1": {"n": 2, "error": 0.5}}, "strip": [[[0.0, 0.0, 0.0, 0.0]] * 4] * 3}
    far["strip"] = [[[n, 2.0 * n, 1.5 * n, 2.5 * n]] * 4 for n in range(3)]
    (failure,) = worst(load_suite("number-model"), [near, far])
    assert failure.where == "CartPole-v1, seed 4, policy acting" and failure.happened.startswith("0.50 standard")
    curves = [element.get("points") for element in ElementTree.fromstring(failure.strip or "").iter("polyline")]
    assert len(curves) == 2 * 4 and curves[0] == "4.00,53.00 180.00,37.80 356.00,22.60", "the mean"


def test_how_a_world_was_learned_is_a_curve_for_each_training_seed() -> None:
    curves = [{"task": "CartPole-v1", "training_seed": n, "points": [[200, 9.5], [5000, 200.0 + n]]} for n in range(3)]
    summary = {"results": {}, "curves": curves}
    (figure,) = figures(load_suite("control"), summary, [])
    chart = ElementTree.fromstring(figure.chart)
    assert [text.text for text in chart.iter("text")][-3:] == [f"training seed {n}" for n in range(3)]
    assert figure.title == "CartPole-v1, return while it was learned"
    assert "250" in [text.text for text in chart.iter("text")], "as high as what was paid"
    assert list(figures(load_suite("control"), {"results": {}}, [])) == [], "runs of before"


def test_a_learning_curve_adds_up_real_steps() -> None:
    class Lived:
        def __init__(self, steps: int, paid: float) -> None:
            self.rewards = np.array([*[0.0] * (steps - 1), paid])

        def __len__(self) -> int:
            return len(self.rewards)

    lived: Any = [Lived(10, 1.0), Lived(20, 3.0), Lived(70, 5.0)]
    assert learning_curve(lived) == [(10, 1.0), (30, 3.0), (100, 5.0)] and learning_curve([]) == []
    assert learning_curve([Lived(1, 1.0) for _ in range(240)])[-1] == (240, 1.0)  # type: ignore[misc]
    assert len(learning_curve([Lived(1, 1.0) for _ in range(240)])) == 24  # type: ignore[misc]


def test_a_summary_alone_shows_charts_and_says_what_is_missing(tmp_path: Path, runs: list[str]) -> None:
    summary = Run.read(runs[2]).summary
    path = tmp_path / "kept.json"
    path.write_text(json.dumps(summary))
    text = page([Run.read(str(path))])
    assert "Only the summary was kept" in text and "Is predicted success true?" in text
    del summary["results"]["groups"]["all"]["ece"]  # type: ignore[attr-defined]
    path.write_text(json.dumps(summary))
    with pytest.raises(EvalError, match=r"made by another version \('ece' is missing\)"):
        page([Run.read(str(path))])


def test_errors_say_what_to_do(tmp_path: Path, runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(RunError, match="is no run summary"):
        Run.read(str(tmp_path / "x.json"))
    (tmp_path / "runs" / runs[0] / "samples.jsonl").unlink()
    with pytest.raises(RunError, match="has no samples yet; go on with `gedanken eval --resume"):
        Run.read(runs[0])
    assert run(["report", "nothing"]) == 1 and "no run 'nothing'" in capsys.readouterr().err
    assert run(["report"]) == 2


PROBE = """<script>addEventListener("load", () => {
  document.documentElement.style.width = "375px";
  const out = [...document.querySelectorAll("body *")].filter(e => !e.closest(".table, svg, details")
    && e.getBoundingClientRect().right > 375.5).map(e => e.tagName + " " + e.className);
  const style = getComputedStyle(document.body), svg = document.querySelector("svg").getBoundingClientRect();
  const number = document.querySelector("svg text").getBoundingClientRect();
  document.title = JSON.stringify({out, ink: style.color, paper: style.backgroundColor, chart: svg.width,
    text: number.height, sections: document.querySelectorAll("section").length});
});</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here to open the page with")
def test_a_browser_shows_it_on_a_phone_in_light_and_dark(written: Path, tmp_path: Path) -> None:
    text = re.sub(r"<meta http-equiv[^>]*>", "", written.read_text()).replace("</head>", PROBE + "</head>")
    probed = tmp_path / "probed.html"
    probed.write_text(text)
    light, dark = (look(probed, scheme) for scheme in (1, 0))
    assert light["sections"] == 4 + 1 and light["out"] == dark["out"] == [], "nothing is wider than the phone"
    assert 320 < light["chart"] <= 375 and light["text"] > 9, "text in charts can be read"
    assert brightness(light["paper"]) > 0.8 and brightness(dark["paper"]) < 0.1
    for found in (light, dark):
        high, low = sorted((brightness(found["ink"]), brightness(found["paper"])), reverse=True)
        assert (high + 0.05) / (low + 0.05) > 7, "contrast as WCAG AAA asks for"


def look(page: Path, scheme: int) -> dict[str, Any]:
    """Open a page at a phone's width in light (1) or dark (0), with no network, and return what it says of itself."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--window-size=500,900"]
    command += [f"--user-data-dir={page.parent / 'chromium'}", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += [f"--blink-settings=preferredColorScheme={scheme}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=140, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.S)
    assert title, done.stderr
    found: dict[str, Any] = json.loads(html.unescape(title[1]))
    return found


def brightness(colour: str) -> float:
    """Return the relative luminance of an rgb(…) colour, as WCAG has it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
