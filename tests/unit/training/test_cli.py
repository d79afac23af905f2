"""The command line: quick to start, helpful, one line per error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from training.__main__ import main

HEAVY = ("torch", "transformers", "onnx", "onnxruntime", "bm25s", "matplotlib", "sklearn")


@pytest.mark.parametrize("command", [[], ["train"], ["mine"], ["evaluate"], ["score"], ["export"]])
def test_help_explains_each_command(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    assert "rerank-training" in capsys.readouterr().out


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, training, training.__main__\n"
        "try: training.__main__.main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_errors_are_one_line_and_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(tmp_path / "absent.toml")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "absent.toml: cannot be read" in error


def test_a_place_that_cannot_be_written_to_is_named_in_one_line(
    recipe_file: Path, data_root: Path, parent_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the first step."""
    (tmp_path / "file").write_text("")
    given = [f"parent={parent_dir}", f"data_root={data_root}", f"output={tmp_path / 'file' / 'model'}"]
    assert main(["train", str(recipe_file), *given]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"rerank-training: {tmp_path / 'file'}")
    assert last.endswith("check the path, rights and room")
