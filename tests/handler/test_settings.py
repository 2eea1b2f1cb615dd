import pytest

from handler.errors import LoadError
from handler.settings import Settings, read_settings


def test_a_missing_section_gives_the_defaults() -> None:
    assert read_settings(None) == Settings()


def test_a_section_overrides_the_defaults() -> None:
    settings = read_settings({"precision": "bfloat16", "threads": 2})
    assert (settings.precision, settings.threads, settings.max_texts) == ("bfloat16", 2, 128)


def test_as_dict_holds_what_differs_and_reads_back() -> None:
    settings = Settings(precision="bfloat16", max_length=64)
    assert settings.as_dict() == {"precision": "bfloat16", "max_length": 64}
    assert read_settings(settings.as_dict()) == settings


def test_an_unknown_key_is_named_with_the_known_ones() -> None:
    with pytest.raises(
        LoadError, match=r"handler\.presision is not a setting; known are precision"
    ):
        read_settings({"presision": "float32"})


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("precision", "float64", "one of auto, float32, bfloat16, float16, int8"),
        ("precision", ["float32"], "one of auto, float32"),
        ("max_length", 0, "above 0"),
        ("max_length", "512", "above 0"),
        ("max_texts", None, "above 0"),
        ("max_texts", True, "above 0"),
        ("token_budget", -1, "above 0"),
        ("threads", 1.5, "above 0"),
    ],
)
def test_a_wrong_value_names_the_key_and_what_is_allowed(
    key: str, value: object, allowed: str
) -> None:
    with pytest.raises(LoadError, match=rf"handler\.{key} is .*; allowed is .*{allowed}"):
        read_settings({key: value})


def test_a_section_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(LoadError, match="must be a mapping"):
        read_settings(["float32"])
