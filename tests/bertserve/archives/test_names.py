import pytest

from bertserve.archives.names import check_name
from bertserve.errors import PackageError


@pytest.mark.parametrize("value", ["support", "1.0", "a", "A_b-c.d", "2026-11-26", "x" * 100])
def test_a_name_is_given_back(value: str) -> None:
    assert check_name("name", value) == value


@pytest.mark.parametrize(
    "value",
    [
        "", " ", ".", "..", "a..b", ".a", "-a", "_a", "a/b", "a\\b", "a b", "a\n", "\na", "a,b", "a=b",
        "a:b", "a%2f", "a?b", "a\0", "\x1b[2J", "a\x9b", "a\u202eb", "é", "١", "a\u0301", "٠.1", None, 1,
        1.0, True, [], {}, b"a",
    ],
)  # fmt: skip
def test_what_will_not_do_is_said_as_python_writes_it(value: object) -> None:
    with pytest.raises(PackageError, match="version .* will not do: use letters") as raised:
        check_name("version", value)
    assert str(raised.value).isprintable()


def test_a_name_that_is_too_long() -> None:
    with pytest.raises(PackageError, match="name has 101 characters; use 100 at most"):
        check_name("name", "x" * 101)
