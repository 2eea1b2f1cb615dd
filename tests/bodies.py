"""Calls of every protocol at random, good and bad, the same for the same seed.

    call = make(random.Random(7))

Malformed forms are left out: TorchServe's front end answers them with 500 itself, before the handler sees
anything of them.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import tiny

REST_WAYS = ("predictions", "version", "invocations", "v1", "v2")
WAYS = (*REST_WAYS, "grpc", "stream", "infer")

_LARGEST = 900_000
_SOME_LARGE = 0.004


@dataclass(frozen=True)
class Call:
    """One request: the way it is sent, its bytes, and its HTTP headers or gRPC metadata.

    The body of an `infer` is the message of the Open Inference Protocol in protobuf's JSON form, without
    the model's name.
    """

    way: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def make(chance: random.Random, large: bool = True) -> Call:
    """A call at random; now and then one of almost a megabyte where `large`."""
    way = chance.choice(WAYS)
    if way == "infer":
        message = json.dumps(_infer_message(chance)).encode()
        return Call(way, message, _hostile_metadata(chance))
    if way in ("grpc", "stream"):
        return Call(way, _content(chance, way, large)[0], _hostile_metadata(chance))
    body, media_type = _content(chance, way, large)
    headers = {"content-type": media_type} if media_type else {}
    return Call(way, body, {**headers, **_hostile_headers(chance)})


def _content(chance: random.Random, way: str, large: bool) -> tuple[bytes, str]:
    """A body and its media type."""
    kind = chance.random()
    if large and kind < _SOME_LARGE:
        return _large(chance), "application/json"
    if kind < 0.06:
        return chance.randbytes(chance.choice((0, 1, 10, 1_000))), chance.choice(_MEDIA_TYPES)
    if kind < 0.14:
        return chance.choice(_ODD_BODIES), chance.choice((*_MEDIA_TYPES, *["application/json"] * 9))
    if kind < 0.20:
        return _text(chance).encode("utf-8", "surrogatepass"), "text/plain"
    if kind < 0.22:
        return _form(chance)
    content = _dump(chance, _value(chance, way))
    if kind < 0.35:
        content = chance.choice(_SPOILERS)(chance, content)
    is_usual = chance.random() < 0.9
    return content, "application/json" if is_usual else chance.choice(_MEDIA_TYPES)


def _value(chance: random.Random, way: str) -> Any:
    own = {"invocations": _huggingface, "v1": _kserve, "v2": _open_inference}.get(way, _native)
    others = (_native, _huggingface, _kserve, _open_inference, _any_json)
    return (own if chance.random() < 0.7 else chance.choice(others))(chance)


_ODD_TEXTS = (
    "",
    " \n\t",
    "\u00a0\u2003",
    "\x00",
    "\x01\x02\x7f",
    "a\x00b",
    "\ufeffgood",
    "\ud83e",
    "\udc00\ud800",
    "👩‍👩‍👧‍👦 🥾",
    "شكرا جزيلا",
    "e\u0301" * 40,
    "\u202egood\u202c",
    "我的订单在哪里",
    "[CLS] [SEP] [PAD] [MASK]",
    "\r\n\r\nHTTP/1.1 200 OK",
    "${jndi:ldap://127.0.0.1/a}",
    "CUDA out of memory",
    "a" * 3_000,
    "good " * 300,
    "﷽" * 100,
    '"}]}',
)


def _text(chance: random.Random) -> str:
    if chance.random() < 0.25:
        return chance.choice(_ODD_TEXTS)
    return " ".join(chance.choices(tiny.WORDS, k=chance.randint(1, 30)))


def _scalar(chance: random.Random) -> Any:
    return chance.choice(
        (
            None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, "", "2", [], {}, [[]],
            {"": None}, _text(chance),
        )
    )  # fmt: skip


def _any_json(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.random()
    if depth > 4 or kind < 0.4:
        return _scalar(chance)
    count = chance.randint(0, 4)
    if kind < 0.6:
        return [_any_json(chance, depth + 1) for _ in range(count)]
    keys = (*_KEYS, _text(chance))
    return {chance.choice(keys): _any_json(chance, depth + 1) for _ in range(count)}


_KEYS = (
    "text", "text_pair", "texts", "inputs", "instances", "parameters", "options", "outputs", "top_k",
    "max_length", "truncate", "long_text", "calibrated", "truncation", "function_to_apply", "details",
    "id", "name", "datatype", "shape", "data", "model_name", "body", "explain", "label",
)  # fmt: skip

# option → values that are good for it
_OPTIONS: dict[str, tuple[Any, ...]] = {
    "top_k": (1, 2, 99, None),
    "max_length": (8, 64, None),
    "truncate": (True, False, None),
    "long_text": ("truncate", "error", "chunks", None),
    "calibrated": (True, False, None),
    "truncation": (True, False, None),
    "details": (True, False, None),
    "explain": (True, False, None),
    "label": (*tiny.LABELS, None),
    "function_to_apply": ("softmax", "sigmoid", "none", None),
}


def _options(chance: random.Random, *names: str) -> dict[str, Any]:
    """Some of the options, mostly with values that are good."""
    chosen: dict[str, Any] = {}
    for name in names:
        if chance.random() < 0.2:
            is_good = chance.random() < 0.8
            chosen[name] = chance.choice(_OPTIONS[name]) if is_good else _scalar(chance)
    if chance.random() < 0.03:
        chosen[chance.choice(("temperature", "Text", _text(chance)))] = _scalar(chance)
    return chosen


def _item(chance: random.Random) -> Any:
    """A text as a list holds it, mostly good."""
    kind = chance.random()
    if kind < 0.06:
        return _any_json(chance)
    if kind < 0.6:
        return _text(chance)
    pair = {"text_pair": _text(chance)} if chance.random() < 0.4 else {}
    return {"text": _text(chance), **pair}


def _items(chance: random.Random) -> list[Any]:
    return [_item(chance) for _ in range(chance.choice((0, 1, 1, 2, 3, 5, 12)))]


def _native(chance: random.Random) -> dict[str, Any]:
    options = _options(chance, "top_k", "max_length", "truncate", "details", "explain")
    if options.get("explain") is True and chance.random() < 0.8:
        text = {"text": _text(chance)}
        return {**text, "explain": True, **_options(chance, "label", "max_length", "truncate")}
    if chance.random() < 0.4:
        both = {"text": _text(chance)} if chance.random() < 0.05 else {}
        return {"texts": _items(chance), **both, **options}
    item = _item(chance)
    return {**(item if isinstance(item, dict) else {"text": item}), **options}


def _huggingface(chance: random.Random) -> dict[str, Any]:
    parameters = _options(chance, "top_k", "max_length", "truncation", "function_to_apply")
    value = {"inputs": _items(chance) if chance.random() < 0.5 else _item(chance)}
    return {**value, "parameters": parameters} if chance.random() < 0.7 else value


def _kserve(chance: random.Random) -> dict[str, Any]:
    instances = [
        {**item, **_options(chance, "top_k", "max_length", "details")}
        if isinstance(item, dict)
        else item
        for item in _items(chance)
    ]
    return {"instances": instances}


def _open_inference(chance: random.Random) -> dict[str, Any]:
    texts = [_text(chance) for _ in range(chance.choice((0, 1, 1, 2, 5)))]
    inputs = [_tensor(chance, "text", texts)]
    if chance.random() < 0.2:
        inputs.append(_tensor(chance, "text_pair", texts[::-1]))
    value: dict[str, Any] = {"inputs": inputs}
    if chance.random() < 0.3:
        value["id"] = _scalar(chance)
    if chance.random() < 0.3:
        value["parameters"] = _options(chance, "top_k", "max_length", "truncate")
    if chance.random() < 0.3:
        names = ("label", "probabilities", "logits", "tokens", "truncated", "", _text(chance))
        value["outputs"] = [{"name": name} for name in chance.choices(names, k=2)]
    return value


def _tensor(chance: random.Random, name: str, texts: list[str]) -> dict[str, Any]:
    tensor: dict[str, Any] = {
        "name": name,
        "datatype": "BYTES",
        "shape": [len(texts)],
        "data": [[text] for text in texts] if chance.random() < 0.1 else texts,
    }
    if chance.random() < 0.15:
        tensor[chance.choice((*tensor, "parameters", _text(chance)))] = _any_json(chance)
    return tensor


# which contents TorchServe reads of a tensor of a datatype
CONTENTS = {
    "BYTES": "bytes_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT32": "uint_contents",
    "BOOL": "bool_contents",
}


def _infer_message(chance: random.Random) -> dict[str, Any]:
    inputs = []
    for name in chance.choice((["text"], ["text"], ["text"], ["text", "text_pair"], ["x"], [])):
        texts = [_text(chance) for _ in range(chance.choice((0, 1, 1, 2, 5)))]
        raw = [text.encode("utf-8", "surrogatepass") for text in texts]
        contents: dict[str, list[Any]] = {
            "bytes_contents": [base64.b64encode(element).decode() for element in raw],
            "fp32_contents": [0.5, -1.0],
            "fp64_contents": [1e300],
            "int_contents": [1, -1],
            "int64_contents": ["9007199254740993"],
            "uint_contents": [2**32 - 1],
            "bool_contents": [True],
        }
        usual = chance.random() < 0.8
        datatype = "BYTES" if usual else chance.choice((*CONTENTS, "FP16", "BF16", "", "bytes"))
        key = CONTENTS.get(datatype, "bytes_contents")
        if chance.random() < 0.05:
            key = chance.choice(list(contents))
        shape: list[int] = [len(contents[key])]
        if chance.random() < 0.1:
            shape = chance.choice(([], [0], [-1], [7], [2**62, 4], [1] * 20))
        tensor: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
        if chance.random() < 0.95:
            tensor["contents"] = {key: contents[key]}
        inputs.append(tensor)
    message: dict[str, Any] = {"inputs": inputs}
    if chance.random() < 0.2:
        message["id"] = _text(chance).encode("utf-8", "replace").decode()
    if chance.random() < 0.1:
        message["raw_input_contents"] = [base64.b64encode(chance.randbytes(20)).decode()]
    if chance.random() < 0.1:
        message["parameters"] = {"top_k": {"int64_param": "1"}, "": {"string_param": "a"}}
        message["outputs"] = [{"name": "logits"}]
    return message


def _dump(chance: random.Random, value: Any) -> bytes:
    """JSON in one of its spellings."""
    content = json.dumps(
        value,
        ensure_ascii=chance.random() < 0.5,
        indent=chance.choice((None, None, None, 2, "\t")),
        sort_keys=chance.random() < 0.1,
    )
    return content.encode("utf-8", "surrogatepass")


def _cut(chance: random.Random, content: bytes) -> bytes:
    return content[: chance.randint(0, len(content))]


def _cut_in_front(chance: random.Random, content: bytes) -> bytes:
    return content[chance.randint(0, len(content)) :]


def _flip(chance: random.Random, content: bytes) -> bytes:
    spoilt = bytearray(content)
    for _ in range(chance.randint(1, 5)):
        spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
    return bytes(spoilt)


def _recode(chance: random.Random, content: bytes) -> bytes:
    encoding = chance.choice(("utf-16", "utf-32-be", "utf-8-sig", "latin-1", "cp037", "utf-7"))
    return content.decode("utf-8", "replace").encode(encoding, "replace")


def _nest(chance: random.Random, content: bytes) -> bytes:
    depth = chance.choice((1, 13, 14, 15, 16, 17, 100, 20_000))
    open_, close = chance.choice(((b"[", b"]"), (b'{"text":', b"}"), (b'{"inputs":[', b"]}")))
    return open_ * depth + content + close * depth


def _append(chance: random.Random, content: bytes) -> bytes:
    return content + chance.choice((b",", b"}", b"\x00", b"{}", content, b"\n" * 1_000))


_SPOILERS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _cut, _cut_in_front, _flip, _recode, _nest, _append,
)  # fmt: skip

_ODD_BODIES = (
    b"",
    b" ",
    b"null",
    b"[]",
    b"{}",
    b'"text"',
    b"0",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b'{"text": "a", "text": "b"}',
    b'{"text": "a", "top_k": NaN}',
    b'{"text": "a", "top_k": -Infinity}',
    b'{"text": "a", "top_k": 1e999}',
    b'{"text": "a", "top_k": 01}',
    b'{"text": "a", "top_k": ' + b"9" * 5_000 + b"}",
    b'{"text": "\\ud800"}',
    b'{"text": "\\u0000"}',
    b"{'text': 'a'}",
    b'{"text": "a",}',
    b'{"text": "a"} // comment',
    b'{"inputs": [' + b'"a",' * 128 + b'"a"]}',
    b'{"instances": [' + b'"a",' * 127 + b'"a"]}',
    b'{"inputs": [{"name": "text", "shape": [' + b"9" * 4_000 + b"]}]}",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"--boundary\r\n\r\n--boundary--",
    b"\x1f\x8b\x08\x00",
    b"\x80\x04\x95",
    b"GET / HTTP/1.1\r\n\r\n",
)


def _large(chance: random.Random) -> bytes:
    size = chance.randint(100_000, _LARGEST)
    words = " ".join(chance.choices(tiny.WORDS, k=100))
    if (kind := chance.randrange(5)) == 0:
        value: Any = {"text": (words * (size // len(words) + 1))[: min(size, 99_000)]}
    elif kind == 1:
        value = {"texts": [words * (size // 128 // len(words))] * 128}
    elif kind == 2:
        value = {"inputs": ["a"] * (size // 5)}
    elif kind == 3:
        value = {"text": "a" * size}
    else:
        value = {str(number): number for number in range(size // 20)}
    return json.dumps(value).encode()


def _form(chance: random.Random) -> tuple[bytes, str]:
    """A form that is well-formed."""
    name = chance.choice(("text", "body", "data", "model_name", "ä"))
    text = _text(chance).encode("utf-8", "replace")
    if chance.random() < 0.5:
        return urlencode({name: text}).encode(), "application/x-www-form-urlencoded"
    part = b'--limit\r\nContent-Disposition: form-data; name="' + name.encode() + b'"\r\n\r\n'
    return part + text + b"\r\n--limit--\r\n", "multipart/form-data; boundary=limit"


_MEDIA_TYPES = (
    "application/json", "application/json; charset=utf-8", "application/json;charset=utf-16",
    "application/json; charset=klingon", "APPLICATION/JSON", "application/vnd.api+json", "text/plain",
    "text/plain; charset=latin-1", "text/html", "application/xml", "application/octet-stream",
    "application/gzip", "image/png", "", ";", "json", "a" * 2_000, "text/plain; ä",
)  # fmt: skip

_HOSTILE_HEADERS = (
    ("describe", "True"),
    ("explain", "True"),
    ("explain", "False"),
    ("body", "x"),
    ("data", "x"),
    ("body", '{"content-type": "application/json"}'),
    ("url_path", "../../../etc/passwd"),
    ("ts_stream_next", "true"),
    ("ts_stream_next", "false"),
    ("ts_request_sequence_id", "1"),
    ("x-request-id", "%n%s${jndi:ldap://127.0.0.1/a}"),
    ("x-long", "a" * 5_000),
    ("x-latin", "äöü"),
    ("x-empty", ""),
    ("accept", "text/html"),
    ("accept-encoding", "gzip;q=1, br;q=0"),
    ("cookie", "a=b; c"),
    ("range", "bytes=0-1"),
    ("transfer-encoding", "chunked"),
)


def _hostile_headers(chance: random.Random) -> dict[str, str]:
    if chance.random() < 0.75:
        return {}
    return dict(chance.choices(_HOSTILE_HEADERS, k=chance.randint(1, 3)))


def _hostile_metadata(chance: random.Random) -> dict[str, str]:
    mine = ("x-latin", "transfer-encoding", "accept-encoding")
    headers = _hostile_headers(chance)
    return {name: value for name, value in headers.items() if name not in mine}
