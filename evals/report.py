"""Write docs/results.md and the README's table from run summaries, so that no number is typed by hand.

Summaries that the docs rest on are kept in docs/runs/; ``python -m gedanken.evals.report runs/<id> …`` adds some and
writes the pages anew. A run counts no more where a later one of the same suite, checkpoint and arms has all its tasks.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gedanken.evals import careful
from gedanken.evals.episodes import EpisodeSuite
from gedanken.evals.errors import EvalError
from gedanken.evals.main import SUITES, load_suite
from gedanken.evals.page import HEADINGS
from gedanken.evals.run_folder import RunFolder, plain
from gedanken.evals.suite import Table, extent, summed

MARKS = ("<!-- results -->", "<!-- /results -->")
Summary = Mapping[str, Any]


def adopt(run: Path, docs: Path) -> Path:
    """Sum up a finished run's samples anew into ``docs/runs/<id>.json``. Raises EvalError for an unfinished one."""
    try:
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        name = str(summary["run"])
        folder = RunFolder.open(run.parent, str(run))
        suite = load_suite(folder.suite)
        errors = {"errors": found} if (found := careful.errors(folder.samples())) else {}
        summary["results"] = plain(summed(suite, folder.samples()) | errors)
    except (OSError, ValueError, KeyError) as error:
        raise EvalError(f"{run} has no summary ({error}); finish it with --resume {run.name}") from error
    target = docs / "runs" / f"{name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return target


def summaries(docs: Path) -> dict[str, list[Summary]]:
    """Return the runs that count, by suite: those whose tasks no later one of the same checkpoint and arms has all of.

    Raises EvalError for a damaged file.
    """
    found: list[Summary] = []
    for path in sorted((docs / "runs").glob("*.json")):
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
            found = [other for other in found if not _replaces(summary, other)]
            found.append(summary)
        except (ValueError, KeyError) as error:
            raise EvalError(f"{path} is no run summary ({error}); delete it, or copy it anew from its run") from error
    return {suite: [summary for summary in found if summary["suite"] == suite] for suite in SUITES}


def _replaces(later: Summary, earlier: Summary) -> bool:
    """Tell whether a later run has all that an earlier one had."""
    mine, other = later["config"], earlier["config"]
    same = later["suite"] == earlier["suite"] and all(mine[key] == other[key] for key in ("checkpoint", "arms"))
    return same and set(other.get("tasks") or ()) <= set(mine.get("tasks") or ())


def results_page(found: Mapping[str, Sequence[Summary]]) -> str:
    """Return docs/results.md."""
    parts = [
        "# Results",
        "Written by `python -m gedanken.evals.report` from the run summaries in [`runs/`](runs); do not edit. Every"
        " table names its run, commit, seeds and n. Seeds lie below 2³⁰, training seeds above. 95 % intervals are"
        " Wilson's for shares, Bonett and Price's for paired differences, bootstrap over situations or episodes for the"
        " rest. The calibration error is over 10 bins of equal width.",
    ]
    for suite, heading in HEADINGS.items():
        if not found.get(suite):
            continue
        parts.append(f"## {heading}")
        for summary in found[suite]:
            if len(found[suite]) > 1:
                config = summary["config"]
                several = len({other["config"]["checkpoint"] for other in found[suite]}) > 1
                which = f"Checkpoint `{config['checkpoint']}`: " if several else ""
                alike = [other for other in found[suite] if other["config"]["arms"] == config["arms"]]
                tasks = f", {', '.join(config.get('tasks') or ())}" if not several and len(alike) > 1 else ""
                parts.append(f"### {which}{', '.join(config['arms'])}{tasks}")
            try:
                measured = load_suite(suite)
                parts += [markdown(table) for table in measured.tables(summary["results"])]
                if isinstance(measured, EpisodeSuite):
                    parts += _about_arms(measured, summary["results"])
            except KeyError as error:
                raise EvalError(
                    f"the summary of {summary['run']} was made by another version ({error} is missing); sum its samples"
                    f" up anew with `python -m gedanken.evals.report runs/{summary['run']}`"
                ) from error
            parts.append(provenance(summary))
    return "\n\n".join(parts) + "\n"


def readme_table(found: Mapping[str, Sequence[Summary]]) -> str:
    """Return what stands between the README's marks: levels × arms, and a line on rehearsal."""
    parts = []
    if found.get("babyai-local"):
        summary = found["babyai-local"][-1]
        tables = load_suite("babyai-local").tables(summary["results"])
        parts += [markdown(tables[0], title=False), provenance(summary, docs="docs/")]
    if found.get("rehearsal"):
        summary = found["rehearsal"][-1]
        group = summary["results"]["groups"]["all"]
        auroc, ece, good = group["auroc"]["predicted"], group["ece"], group["as_good_as_best"]
        parts.append(
            f"Rehearsal, over {group['plans']} right and wrong plans in {group['situations']} unseen situations, all of"
            f" them really carried out: AUROC of predicted success {_interval(auroc)}, calibration error"
            f" {_interval(ece)}, the plan picked as good as the best {_interval(good, percent=True)}."
        )
        parts.append(provenance(summary, docs="docs/"))
    if not parts:
        return "No run has been kept yet."
    return "\n\n".join([*parts, "More in [docs/results.md](docs/results.md)."])


def write(docs: Path, readme: Path | None) -> list[Path]:
    """Write the pages; return those written. Raises EvalError for a README without the marks."""
    found = summaries(docs)
    page = docs / "results.md"
    page.write_text(results_page(found), encoding="utf-8")
    if readme is None:
        return [page]
    text = readme.read_text(encoding="utf-8")
    before, mark, rest = text.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not mark or not end:
        raise EvalError(f"{readme} lacks {MARKS[0]} … {MARKS[1]}; put them where the results belong")
    readme.write_text(f"{before}{mark}\n{readme_table(found)}\n{end}{after}", encoding="utf-8")
    return [page, readme]


def markdown(table: Table, *, title: bool = True) -> str:
    """Write a table in Markdown."""
    lines = [f"**{table.title}**", ""] if title else []
    lines.append("| " + " | ".join(table.columns) + " |")
    lines.append("|---|" + "---:|" * (len(table.columns) - 1))
    lines += ["| " + " | ".join(row) + " |" for row in table.rows]
    return "\n".join([*lines, "", f"{table.note}."] if table.note else lines)


def provenance(summary: Summary, docs: str = "") -> str:
    """Say in one line where numbers come from, and what `remark` the summary makes on how they came about."""
    config, machine = summary["config"], summary["machine"]
    weights = [f"`{name}` {digest[:12]}" for name, digest in summary["checkpoints"].items()]
    changed = ", with changes that were not committed" if "+changes" in summary["commit"] else ""
    words = [
        f"run [`{summary['run']}`]({docs}runs/{summary['run']}.json)",
        f"commit {summary['commit'].replace('+changes', '')}{changed}",
        f"seed {summary['seeds']['seed']}, {extent(load_suite(summary['suite']), config['limit'])}"
        + (f", {config['epochs']} epochs" if config.get("epochs", 1) > 1 else ""),
        f"checkpoint {', '.join(weights) or config['checkpoint']}, language model `{config['loop']['llm']}`",
        f"{machine['processor']}, {machine['cores']} cores, {machine['torch_threads']} torch threads",
    ]
    if summary.get("workers", 1) > 1:
        words.append(f"{summary['workers']} processes at once, the cores shared out")
    remark = f" {summary['remark']}" if summary.get("remark") else ""
    return "<sub>" + "; ".join(words) + f".{remark}</sub>"


def _about_arms(suite: EpisodeSuite, results: Mapping[str, Any]) -> list[str]:
    lines = [f"- **{arm}**: {suite.about[arm]}" for arm in (results["arm"], *results["arms"])]
    paired = [
        f"{row['first']} minus {row['second']} {_interval(row, percent=True)} points" for row in results["differences"]
    ]
    rounds = [
        f"{row['plan']} in {100 * row['share']:.1f} %, of which {_interval(row, percent=True)} reached the goal"
        for row in results["rounds"]
    ]
    parts = ["\n".join(lines)]
    if paired:
        parts.append(f"Paired over the same seeds (n = {results['differences'][0]['n']}): {'; '.join(paired)}.")
    if rounds:
        parts.append(f"The loop's last plan was {'; '.join(rounds)}.")
    return parts


def _interval(row: Mapping[str, Any], *, percent: bool = False) -> str:
    if row["value"] is None:
        return "–"
    if percent:
        low, high = ("–" if row[end] is None else f"{100 * row[end]:.1f}" for end in ("low", "high"))
        return f"{100 * row['value']:.1f} % [{low}, {high}]"
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Keep the runs named and write the pages anew."""
    parser = argparse.ArgumentParser(prog="python -m gedanken.evals.report", description=main.__doc__)
    parser.add_argument("runs", nargs="*", type=Path, help="run folders to keep")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of the docs")
    parser.add_argument("--readme", type=Path, default=Path("README.md"), help="README with the marks")
    chosen = parser.parse_args(arguments)
    try:
        for run in chosen.runs:
            adopt(run, chosen.docs)
        for path in write(chosen.docs, chosen.readme if chosen.readme.exists() else None):
            print(path)
    except EvalError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
