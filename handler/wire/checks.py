"""What all protocols ask of the values in a body; each check returns the value or raises its error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from ..errors import RequestError
from ..schemas import LARGEST_NUMBER, LONGEST_STRING
from ..settings import Settings
from ..values import LONG_TEXTS
from .body import kind

_LONGEST_SHOWN_KEY = 40

Result = TypeVar("Result")


def each(items: Iterable[Any], read: Callable[[Any], Result]) -> tuple[Result | RequestError, ...]:
    """Read items one by one; one that is wrong leaves its error in its place."""
    results: list[Result | RequestError] = []
    for item in items:
        try:
            results.append(read(item))
        except RequestError as error:
            results.append(error)
    return tuple(results)


def checked_text(text: Any, name: str, settings: Settings) -> str:
    """A text that a tokenizer can read."""
    if not isinstance(text, str):
        raise RequestError("invalid_type", f"{name} is {kind(text)}; send a string")
    if len(text) > settings.max_characters:
        raise RequestError(
            "text_too_long",
            f"{name} has {len(text)} characters, {settings.max_characters} are allowed; shorten it",
            characters=len(text),
            max_characters=settings.max_characters,
        )
    if not text.strip():
        raise RequestError("empty_text", f"{name} is empty; send at least one word")
    if not _is_encodable(text):  # JSON can hold it as \ud800, a tokenizer fails on it
        raise RequestError(
            "invalid_text", f"{name} holds half of a surrogate pair; send whole characters"
        )
    return text


def checked_list(items: Any, name: str, settings: Settings) -> list[Any]:
    """The list of a request's texts: some, and not too many."""
    if not isinstance(items, list):
        raise RequestError("invalid_type", f'"{name}" is {kind(items)}; send a list of texts')
    if not items:
        raise RequestError("missing_text", f'"{name}" is empty; send at least one text')
    refuse_too_many(items, settings)
    return items


def refuse_too_many(items: Sequence[Any], settings: Settings) -> None:
    """More texts than a request may hold."""
    if len(items) > settings.max_texts:
        raise RequestError(
            "too_many_texts",
            f"the request holds {len(items)} texts, {settings.max_texts} are allowed; "
            "split it into several requests",
            texts=len(items),
            max_texts=settings.max_texts,
        )


def refuse_unknown(value: dict[str, Any], known: frozenset[str], where: str = "") -> None:
    """Keys that mean nothing here; they are named, since a misspelt option must not be lost."""
    if unknown := [key for key in value if key not in known]:
        shown = ", ".join(ascii(key[:_LONGEST_SHOWN_KEY]) for key in unknown[:3])
        raise RequestError(
            "unknown_key", f"unknown key {shown}{where}; known are {', '.join(sorted(known))}"
        )


def positive(value: dict[str, Any], key: str) -> int | None:
    """A whole number above 0; None where the key is missing or null."""
    number = value.get(key)
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int):
        raise RequestError("invalid_type", f'"{key}" is {kind(number)}; send a whole number')
    if not 1 <= number <= LARGEST_NUMBER:
        raise RequestError("invalid_value", f'"{key}" is out of range; send 1 to {LARGEST_NUMBER}')
    return number


def boolean(value: dict[str, Any], key: str, *, default: bool) -> bool:
    """True or false; the default where the key is missing or null."""
    flag = default if value.get(key) is None else value[key]
    if not isinstance(flag, bool):
        raise RequestError("invalid_type", f'"{key}" is {kind(flag)}; send true or false')
    return flag


def long_text(value: dict[str, Any], truncate: str = "truncate") -> str | None:
    """What happens to a text that is too long, by `long_text` or by `truncate`; None: as usual."""
    word = choice(value, "long_text", LONG_TEXTS)
    if value.get(truncate) is None:
        return word
    if word is not None:
        raise RequestError(
            "conflicting_keys",
            f'the body holds both "long_text" and "{truncate}"; send one of them',
        )
    return "truncate" if boolean(value, truncate, default=True) else "error"


def choice(value: dict[str, Any], key: str, allowed: Sequence[str]) -> str | None:
    """One of some words; None where the key is missing or null."""
    word = value.get(key)
    if word is None:
        return None
    if not isinstance(word, str):
        raise RequestError("invalid_type", f'"{key}" is {kind(word)}; send a string')
    if word not in allowed:
        raise RequestError("invalid_value", f'"{key}" must be one of {", ".join(allowed)}')
    return word


def mapping(value: dict[str, Any], key: str) -> dict[str, Any]:
    """An object; an empty one where the key is missing or null."""
    inner = value.get(key)
    if inner is None:
        return {}
    if not isinstance(inner, dict):
        raise RequestError("invalid_type", f'"{key}" is {kind(inner)}; send an object')
    return inner


def string(value: dict[str, Any], key: str, longest: int = LONGEST_STRING) -> str | None:
    """A string that can be answered back; None where the key is missing or null."""
    text = value.get(key)
    if text is None:
        return None
    if not isinstance(text, str):
        raise RequestError("invalid_type", f'"{key}" is {kind(text)}; send a string')
    if len(text) > longest or not _is_encodable(text):
        raise RequestError(
            "invalid_value", f'"{key}" must be at most {longest:,} whole characters long'
        )
    return text


def _is_encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
