"""Settings from flags and environment."""

from __future__ import annotations

import re
from pathlib import Path

import pydantic
import pytest

from app.config import Settings, flag, load_settings, settings_table, variable
from app.errors import ConfigError

README = Path(__file__).parents[2] / "README.md"


def test_defaults_apply_without_flags_and_variables() -> None:
    assert load_settings([], {}) == Settings()
    assert load_settings([], {"PATH": "/bin", "RERANKER_PORT": ""}) == Settings()


def test_a_flag_wins_over_its_variable() -> None:
    environment = {"RERANKER_PORT": "9000", "RERANKER_MAX_BATCH_ROWS": "7"}
    settings = load_settings(["--port", "9001"], environment)
    assert (settings.port, settings.max_batch_rows) == (9001, 7)


def test_models_repeat_as_flags_and_are_separated_by_commas_in_the_variable() -> None:
    assert load_settings(["--model", "a=x", "--model", "b=y"], {}).model == ("a=x", "b=y")
    assert load_settings([], {"RERANKER_MODEL": "a=x, b=y"}).model == ("a=x", "b=y")


@pytest.mark.parametrize(("value", "expected"), [("true", True), ("0", False), ("off", False)])
def test_switches_are_read_from_variables(value: str, expected: bool) -> None:
    assert load_settings([], {"RERANKER_COMPILE": value}).compile is expected
    assert load_settings(["--no-log-requests"], {}).log_requests is False


def test_an_unknown_variable_is_an_error() -> None:
    with pytest.raises(ConfigError, match="RERANKER_PROT: no such setting"):
        load_settings([], {"RERANKER_PROT": "1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("port", "http"), ("port", "70000"), ("max_batch_rows", "0"), ("min_batch_fill", "1.5"), ("precision", "int4")],
)
def test_a_wrong_value_names_flag_and_variable(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{flag(name)} ({variable(name)})")):
        load_settings([], {variable(name): value})


@pytest.mark.parametrize("backend", ["auto", "vnni"])
def test_int16_can_be_asked_of_the_backends_that_have_it(backend: str) -> None:
    assert load_settings(["--precision", "int16", "--backend", backend], {}).precision == "int16"


@pytest.mark.parametrize("backend", ["onnx", "openvino", "torch"])
def test_int16_of_another_backend_is_refused(backend: str) -> None:
    """Whichever was given where."""
    message = rf"^--precision \(RERANKER_PRECISION\): .*the backend {backend} has no such arithmetic; choose .* vnni"
    with pytest.raises(ConfigError, match=message):
        load_settings(["--precision", "int16"], {"RERANKER_BACKEND": backend})


@pytest.mark.parametrize(("arguments", "environment"), [(["--api-key", ""], {}), ([], {"RERANKER_API_KEY": "a,"})])
def test_an_empty_key_does_not_open_the_service(arguments: list[str], environment: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="--api-key"):
        load_settings(arguments, environment)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(pydantic.ValidationError):
        Settings().port = 1  # type: ignore[misc]


def test_secrets_do_not_show_in_the_representation() -> None:
    assert "hush" not in repr(Settings(api_key=("hush",), hub_token="hush"))


def test_help_explains_every_setting_with_default_and_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load_settings(["--help"], {})
    shown = squeezed(capsys.readouterr().out)
    for name, variable_name, default, description in settings_table():
        assert name in shown
        assert squeezed(f"{description} Default: {default or 'none'}. [{variable_name}]") in shown


def squeezed(text: str) -> str:
    """Without white space, which argparse puts wherever a line ends."""
    return "".join(text.split())


def test_descriptions_of_quantities_state_their_unit() -> None:
    for name, field in Settings.model_fields.items():
        if name.endswith(("_tokens", "_ms", "_s", "_bytes", "_rows", "_length")):
            assert re.search(r"\[\w+\]", field.description or ""), f"{name} has no unit"


def test_the_readme_lists_exactly_the_settings_that_exist() -> None:
    rows = re.findall(
        r"^\| `(--[\w-]+)` \| `(\w+)` \| (.*?) \| (.*) \|$", README.read_text(encoding="utf-8"), re.MULTILINE
    )
    shown = [(name, variable_name, default.strip("`"), text) for name, variable_name, default, text in rows]
    assert shown == settings_table()
