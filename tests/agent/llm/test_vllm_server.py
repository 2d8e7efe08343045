from pathlib import Path

from gedanken.agent.llm.vllm_server import NAME, command


def test_a_model_alone_is_served_under_its_name_on_this_machine_only() -> None:
    words = command("python", Path("/models/small"), {}, 8000)
    assert words[:2] == ["python", "-m"] and words[words.index("--model") + 1] == "/models/small"
    assert "--enable-lora" not in words
    assert words[words.index("--served-model-name") + 1] == NAME
    assert words[words.index("--host") + 1] == "127.0.0.1" and words[words.index("--port") + 1] == "8000"


def test_adapters_keep_their_names_and_the_largest_rank_fits(tmp_path: Path) -> None:
    for name, rank in (("planner", 16), ("mine", 4)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text(f'{{"r": {rank}}}')
    words = command("python", Path("m"), {"planner": tmp_path / "planner", "mine": tmp_path / "mine"}, 1)
    assert words[words.index("--max-lora-rank") + 1] == "16"
    assert words[words.index("--lora-modules") + 1 :] == [f"planner={tmp_path}/planner", f"mine={tmp_path}/mine"]
