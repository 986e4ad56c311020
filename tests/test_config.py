"""What a configuration file may say: every key, every limit, and one line for every mistake."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from benchmarks.latency_case import Case
from encoders.whisper import StreamingSettings
from realtime.commands.demo_session import DemoSettings
from realtime.commands.engine_process import _with_options
from realtime.config import Config, WhisperTable, checked, load_config
from realtime.errors import UserError

LIVE = Path(__file__).parent.parent / "configs" / "live.toml"
LEAST: dict[str, dict[str, Any]] = {"sound": {"name": "mic"}, "ecog": {"name": "amp"}}
TABLES = {name: field.annotation for name, field in Config.model_fields.items()}
NO_DEFAULT = (
    "name",
    "type",
    "source_id",
    "file",
    "exclude",
    "bad",
    "montage",
    "delay_s",
    "stream",
    "map",
    "folder",
    "cores",
)
KEYS = [(table, key) for table, model in TABLES.items() for key in model.model_fields]  # type: ignore[union-attr]


def written(folder: Path, text: str) -> Path:
    path = folder / "rig.toml"
    path.write_text(text, encoding="utf-8")
    return path


def mistake(content: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        checked(content, "rig.toml")
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("rig.toml: ")
    return line


def test_the_example_is_valid_and_shows_every_key_with_its_default(tmp_path: Path) -> None:
    text = LIVE.read_text(encoding="utf-8")
    given_ = load_config(LIVE)
    assert given_.sound.name == "Microphone"
    lines = [line.removeprefix("# ") for line in text.splitlines() if "=" in line or line.startswith("[")]
    all_on = load_config(written(tmp_path, "\n".join(lines)))
    missing = [
        f"{table}.{key}" for table, key in KEYS if key not in getattr(all_on, table).model_fields_set and key != "type"
    ]
    assert missing in ([], ["ecog.source_id"]), "not in the example"
    for table, key in KEYS:
        field = TABLES[table].model_fields[key]  # type: ignore[union-attr]
        if key not in NO_DEFAULT or (table == "engine" and key != "cores"):
            assert getattr(getattr(all_on, table), key) == field.default, f"[{table}] {key} is another default"


def test_a_stream_has_one_default_setting_and_figures_name_theirs() -> None:
    """What docs/latency.md and the demo's pictures show is of 100 + 0 ms, whatever the default is."""
    table, settings_ = WhisperTable(), StreamingSettings(WhisperTable().layer)
    shared = {"layer", "block_ms", "delay_ms", "history_s", "silence_ms", "mode", "dtype"}
    assert table.model_dump(include=shared) == {name: getattr(settings_, name) for name in shared}
    assert (table.block_ms, table.delay_ms) == (40.0, 60.0)
    for shown in (DemoSettings(), Case()):
        assert (shown.block_ms, shown.delay_ms) == (100.0, 0.0)


def test_files_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    text = '[sound]\nname = "mic"\n[ecog]\nname = "amp"\n[model]\nfile = "m.safetensors"\n'
    text += '[record]\nfile = "/x/y.xdf"\n'
    config = load_config(written(tmp_path, text + '[whisper]\nfile = "~/w.pt"\n'))
    assert config.model.file == tmp_path / "m.safetensors"
    assert config.record.file == Path("/x/y.xdf")
    assert config.whisper.file == Path.home() / "w.pt"
    assert load_config(written(tmp_path, text)).whisper.file is None


def test_what_is_not_said_stays_unsaid() -> None:
    """A model's own settings count where the file says nothing: options must not make defaults of it."""
    config = checked({**LEAST, "whisper": {"layer": 2}}, "rig.toml")
    options = argparse.Namespace(name="other", record=Path("r.xdf"), adapt=False, accept_commands=False)
    changed = _with_options(config, options)
    assert (changed.engine.name, changed.record.file) == ("other", Path("r.xdf"))
    assert changed.whisper.model_fields_set == {"layer"}
    assert changed.ecog.model_fields_set == {"name"}
    assert changed.sound == config.sound


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(KEYS), st.data())
def test_a_misspelt_key_is_told_with_the_right_one(key: tuple[str, str], data: st.DataObject) -> None:
    table, name = key
    at = data.draw(st.integers(0, len(name)))
    wrong = name[:at] + data.draw(st.sampled_from("xqz")) + name[at:]
    line = mistake({**LEAST, table: {**LEAST.get(table, {}), wrong: 1}})
    assert f"unknown key '{table}.{wrong}'" in line
    assert f"did you mean '{name}'?" in line
    assert all(known in line for known in TABLES[table].model_fields)  # type: ignore[union-attr]


@pytest.mark.parametrize("table", sorted(TABLES))
def test_a_misspelt_table_is_told_with_the_right_one(table: str) -> None:
    content = {name: part for name, part in LEAST.items() if name != table}
    line = mistake({**content, table + "s": {}})
    assert f"unknown key '{table}s', did you mean '{table}'?" in line


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([k for k in KEYS if k[1] not in ("sound",)]),
    st.sampled_from([{"a": 1}, [[1]], float("nan"), float("inf"), -3.5]),
)
def test_a_value_of_another_kind_is_told_with_what_was_expected(key: tuple[str, str], value: Any) -> None:
    table, name = key
    line = mistake({**LEAST, table: {**LEAST.get(table, {}), name: value}})
    assert line.startswith(f"rig.toml: {table}.{name}"), "the union's or list's inner name may follow, no more"
    assert "found" in line
    assert "expected" in line
    assert "pydantic" not in line
    assert line.endswith("correct it there")


@pytest.mark.parametrize(
    ("table", "key", "value", "expected"),
    [
        ("engine", "wait_s", -1, "found -1, expected greater than 0"),
        ("engine", "name", "two words", "letters, digits, _ and - alone"),
        ("engine", "threads", 1.5, "a valid integer"),
        ("engine", "max_backlog_s", 0.01, "greater than or equal to 0.2"),
        ("whisper", "mode", "windw", "found 'windw', expected 'cached'"),
        ("whisper", "layer", 0, "greater than or equal to 1"),
        ("ecog", "mains_hz", 55, "expected 50 or 60"),
        ("ecog", "band_hz", [70.0], "found [70.0], expected one value more"),
        ("ecog", "exclude", "AUX", "found 'AUX', expected a list"),
        ("sound", "channel", -1, "found -1, expected a valid string or greater than or equal to 0"),
        ("sound", "channel", True, "found True, expected a valid string or a valid integer"),
        ("record", "sound", "maybe", "boolean"),
    ],
)
def test_limits(table: str, key: str, value: Any, expected: str) -> None:
    line = mistake({**LEAST, table: {**LEAST.get(table, {}), key: value}})
    assert f"{table}.{key}" in line
    assert expected in line.lower() or expected in line


def test_what_does_not_fit_together() -> None:
    line = mistake({**LEAST, "engine": {"ring_s": 4.0}})
    assert "[engine]: found max_backlog_s = 5, expected less than ring_s = 4" in line
    line = mistake({**LEAST, "sound": {"channel": 1}})
    assert "[sound]: found no name, type or source_id" in line
    assert "table [ecog] is missing: add it" in mistake({"sound": {"name": "mic"}})
    assert "sound: found 3, expected a table" in mistake({**LEAST, "sound": 3})


def test_tables_are_frozen() -> None:
    config = checked(LEAST, "rig.toml")
    with pytest.raises(ValueError, match="frozen"):
        config.engine.wait_s = 3.0  # type: ignore[misc]
    assert all(issubclass(model, BaseModel) for model in TABLES.values() if not get_args(model))  # type: ignore[arg-type]
