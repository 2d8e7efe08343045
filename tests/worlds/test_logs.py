import csv
import importlib.util
import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gedanken.agent.added import load_added
from gedanken.agent.logged import import_log
from gedanken.cli import ERROR, REACHED, run
from gedanken.worldmodel.experience import ExperienceStore
from gedanken.worlds.logs import LONGEST, MOMENTS, LogSpec, LogWorld, Repairs, read_log, read_log_spec
from gedanken.worlds.spec import SpecError

SPEC = """
time = "when"
every = "30 min"
reward = "cost"

[[observe]]
column = "t_room"
name = "room"
unit = "°C"

[[actions]]
column = "valve"
name = "heater"
low = 0
high = 1

[[exogenous]]
column = "t_out"
name = "outside"
unit = "°C"
low = -20
high = 40
"""


def rows(count: int, start: int = 0) -> list[dict[str, object]]:
    return [
        {"when": 1800 * i, "t_room": 20 + i % 7, "valve": (i % 10) / 10, "t_out": 5, "cost": -1, "note": "x"}
        for i in range(start, start + count)
    ]


def written(folder: Path, table: list[dict[str, object]], name: str = "plant.csv") -> Path:
    path = folder / name
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return path


@pytest.fixture
def spec(tmp_path: Path) -> LogSpec:
    (tmp_path / "spec.toml").write_text(SPEC, encoding="utf-8")
    return read_log_spec(tmp_path / "spec.toml")


def test_rows_become_transitions(tmp_path: Path, spec: LogSpec) -> None:
    repairs = Repairs()
    [piece] = read_log(written(tmp_path, rows(5)), spec, repairs)
    assert piece.observations.tolist() == [[20 + i, 5] for i in range(5)]
    assert piece.actions.ravel().tolist() == pytest.approx([0, 0.1, 0.2, 0.3]) and piece.rewards.tolist() == [-1] * 4
    assert repairs.moments[-1] == [24, 5] and repairs.rows == 5
    assert spec.world("plant").vector.names == ("room", "outside", "reward")


def test_repairs_are_made_and_counted(tmp_path: Path, spec: LogSpec) -> None:
    table = rows(12)
    table[2] = table[2] | {"when": table[1]["when"], "t_room": 99}  # one timestamp twice: the last row counts
    table[3]["when"] = 1800 * 2
    table[6]["t_room"] = ""  # incomplete
    for row in table[9:]:
        row["when"] = int(str(row["when"])) + 7200  # a gap before it
    repairs = Repairs()
    pieces = list(read_log(written(tmp_path, table), spec, repairs))
    assert (repairs.duplicates, repairs.incomplete, repairs.gaps) == (1, 1, 2)
    assert [len(piece.actions) for piece in pieces] == [2, 1, 1, 2]
    assert pieces[0].observations[:, 0].tolist() == [20, 99, 23]


def test_iso_times_and_a_column_of_episodes(tmp_path: Path, spec: LogSpec) -> None:
    table = rows(6)
    for i, row in enumerate(table):
        row |= {"when": f"2024-03-0{1 + i // 3}T10:{30 * (i % 2):02}:00", "run": i // 2}
    by_run = spec.model_copy(update={"episode": "run"})
    repairs = Repairs()
    with pytest.raises(SpecError, match="row 3: the time goes back by 1800 s; sort the log"):
        list(read_log(written(tmp_path, table), spec, Repairs()))
    assert [len(piece.actions) for piece in read_log(written(tmp_path, table[:2]), by_run, repairs)] == [1]


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system has one time zone")
def test_times_without_a_zone_do_not_depend_on_the_machines(
    tmp_path: Path, spec: LogSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = rows(4)
    for row, when in zip(table, ("01:30", "02:00", "02:30", "03:00"), strict=True):
        row["when"] = f"2024-03-31T{when}:00"  # an hour that Berlin does not have
    with monkeypatch.context() as there:
        there.setenv("TZ", "Europe/Berlin")
        time.tzset()
        pieces = list(read_log(written(tmp_path, table), spec, Repairs()))
    time.tzset()
    assert [len(piece.actions) for piece in pieces] == [3]


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("t_room", "warm", "row 2: t_room is 'warm', and that is no number"),
        ("t_room", "inf", "row 2: t_room is inf; it must be a finite number"),
        ("valve", 7, "row 2: valve is 7, beyond 0 to 1; correct its low and high"),
        ("when", "noon", "row 2: 'noon' is no time; write seconds or ISO 8601"),
        ("when", "nan", "row 2: 'nan' is no time; write seconds or ISO 8601"),
    ],
)
def test_what_does_not_fit_is_named_by_its_row(
    tmp_path: Path, spec: LogSpec, column: str, value: object, says: str
) -> None:
    table = rows(4)
    table[1][column] = value
    with pytest.raises(SpecError, match=says):
        list(read_log(written(tmp_path, table), spec, Repairs()))


def test_missing_columns_are_named(tmp_path: Path, spec: LogSpec) -> None:
    path = written(tmp_path, [{"when": 0, "t_room": 1}])
    with pytest.raises(SpecError, match="has no column t_out, valve, cost; it has when, t_room"):
        list(read_log(path, spec, Repairs()))
    path.write_text("when,t_room,valve,valve,t_out,cost\n0,1,0,0,0,0", encoding="utf-8")
    with pytest.raises(SpecError, match="has more than one column valve; give each a name of its own"):
        list(read_log(path, spec, Repairs()))
    (tmp_path / "empty.csv").touch()
    with pytest.raises(SpecError, match="has no column t_room"):
        list(read_log(tmp_path / "empty.csv", spec, Repairs()))
    (tmp_path / "bad.toml").write_text(SPEC.replace("high = 1", "high = 0"), encoding="utf-8")
    with pytest.raises(SpecError, match="actions.0: .*low = 0 must be below high = 0"):
        read_log_spec(tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_text(SPEC.replace('every = "30 min"', ""), encoding="utf-8")
    with pytest.raises(SpecError, match="time and every belong together"):
        read_log_spec(tmp_path / "bad.toml")


def test_a_long_log_is_read_as_a_stream(tmp_path: Path, spec: LogSpec) -> None:
    path, repairs, steps = written(tmp_path, rows(6_000)), Repairs(), 0
    tracemalloc.start()
    for piece in read_log(path, spec, repairs):
        steps += len(piece.actions)
        assert len(piece.actions) <= LONGEST
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert steps == 5_999 and peak < 1.5e6 and len(repairs.moments) <= 2 * MOMENTS  # bytes; all rows at once are 4 MB


def test_a_log_of_any_length_takes_the_same_memory_to_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gedanken.worlds.logs.LONGEST", 100)
    (tmp_path / "spec.toml").write_text(SPEC, encoding="utf-8")
    peaks = []
    for count in (20_000, 40_000):  # 64 episodes of 100 are stored at a time
        path = tmp_path / f"{count}.csv"
        with path.open("w", encoding="utf-8") as file:
            file.write("when,t_room,valve,t_out,cost\n")
            file.writelines(f"{1800 * i},{20 + i % 7},{(i % 10) / 10},5,-1\n" for i in range(count))
        tracemalloc.start()
        with ExperienceStore(tmp_path / "experience.sqlite") as store:
            world, repairs = import_log(path, tmp_path / "spec.toml", store)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            assert sum(len(e) for _, e in store.episodes(world=world.id)) == repairs.rows - 1 == count - 1
    assert peaks[1] < 1.2 * peaks[0]


def test_rows_that_never_follow_each_other_are_no_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "spec.toml").write_text(SPEC.replace("30 min", "1 min"), encoding="utf-8")
    assert run(["import", str(written(tmp_path, rows(5))), "--spec", str(tmp_path / "spec.toml")]) == ERROR
    assert "no two of its 5 rows follow each other" in (error := capsys.readouterr().err)
    assert "is every = '1 min' the time from row to row?" in error and load_added("plant") is None


def test_pictures_are_refused_in_a_log(tmp_path: Path, spec: LogSpec) -> None:
    for cell in ("frames/0001.png", "[[[0, 0, 0]]]"):
        path = written(tmp_path, [*rows(2), rows(1, 2)[0] | {"t_room": cell}])
        with pytest.raises(SpecError, match=r"row 3: t_room is '.*', and that is no number"):
            list(read_log(path, spec, Repairs()))
    (tmp_path / "spec.toml").write_text("[picture]\nsize = 64\n" + SPEC, encoding="utf-8")
    with pytest.raises(SpecError, match="picture"):
        read_log_spec(tmp_path / "spec.toml")


def test_parquet_is_read_where_pyarrow_is_there(tmp_path: Path, spec: LogSpec) -> None:
    path = tmp_path / "plant.parquet"
    if importlib.util.find_spec("pyarrow") is None:
        path.touch()
        with pytest.raises(SpecError, match=r"needs pyarrow; `pip install gedanken\[logs\]` adds it"):
            list(read_log(path, spec, Repairs()))
        return
    arrow: Any = importlib.import_module("pyarrow")
    table = arrow.Table.from_pylist(rows(5))
    importlib.import_module("pyarrow.parquet").write_table(table, path)
    [piece] = read_log(path, spec, Repairs())
    assert piece.observations.tolist() == [[20 + i, 5] for i in range(5)]
    for picture in (b"\x89PNG", [[0, 0, 0]], {"bytes": b"\x89PNG", "path": None}):
        pictured = arrow.Table.from_pylist([row | {"t_room": picture} for row in rows(2)])
        importlib.import_module("pyarrow.parquet").write_table(pictured, path)
        with pytest.raises(SpecError, match="row 1: t_room is .*, and that is no number"):
            list(read_log(path, spec, Repairs()))
    path.write_bytes(b"no parquet")
    with pytest.raises(SpecError, match="is no Parquet file that can be read"):
        list(read_log(path, spec, Repairs()))


def test_a_log_is_a_world_that_is_learned_and_imagined_but_not_acted_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, spec = written(tmp_path, rows(60)), tmp_path / "spec.toml"
    spec.write_text(SPEC, encoding="utf-8")
    assert run(["import", str(log), "--spec", str(spec), "--json"]) == REACHED
    told = json.loads(capsys.readouterr().out)
    assert told["world"] == "plant" and told["transitions"] == 59 and told["gaps"] == 0
    world = load_added("plant")
    assert isinstance(world, LogWorld) and world.in_actions("for two hours") == "for 4 actions"
    assert np.array_equal(world.make().reset(seed=0)[0], [20 + 59 % 7, 5])
    assert run(["learn", "plant", "--steps", "20", "--size", "debug"]) == REACHED
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"Goal:": ["keep(room, -99..99, for 2)\n"]}))
    how = ["--world", "plant", "--llm", f"scripted:{script}", "--samples", "3", "--surprise", "1e9"]
    capsys.readouterr()
    assert run(["plan", "keep the room alive", *how, "--json"]) == REACHED
    assert json.loads(capsys.readouterr().out)["verdict"]["carried_out"] == 1
    assert run(["whatif", "outside = 9", "--plan", "keep(room, -99..99, for 2)", *how]) == REACHED
    assert "outside 5 → 9" in capsys.readouterr().out
    assert run(["run", "keep the room alive", *how]) == ERROR
    assert "plant is known from logs only" in capsys.readouterr().err


def test_of_a_log_that_does_not_fit_nothing_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = rows(5)
    table[4]["valve"] = 9
    (tmp_path / "spec.toml").write_text(SPEC, encoding="utf-8")
    assert run(["import", str(written(tmp_path, table)), "--spec", str(tmp_path / "spec.toml")]) == ERROR
    assert "row 5: valve is 9" in capsys.readouterr().err and load_added("plant") is None
