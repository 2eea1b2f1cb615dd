"""Java class files, as far as methods are changed here (Java's specification, chapter 4).

made = ClassFile(content)
made.catch("response", "([B)V", handler)
made.replace("pollBatch", before, after)
made.content()
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO

# bytes of a constant after its tag; UTF-8 has a length of its own
_SIZES = {3: 4, 4: 4, 5: 8, 6: 8, 7: 2, 8: 2, 9: 4, 10: 4, 11: 4, 12: 4, 15: 3, 16: 2, 17: 4, 18: 4}
_SIZES |= {19: 2, 20: 2}
_UTF8, _LONG, _DOUBLE, _CLASS, _STRING, _NAME_AND_TYPE = 1, 5, 6, 7, 8, 12
FIELD, METHOD, INTERFACE_METHOD = 9, 10, 11
_OBJECT = 7  # of a verification type
_STATIC = 0x1008  # and made by no source


@dataclass
class _Member:
    """A field or a method; attributes are pairs of the index of a name and bytes."""

    access: int
    name: int
    descriptor: int
    attributes: list[tuple[int, bytes]]


class ClassFile:
    """A class that is read, changed and written again."""

    def __init__(self, content: bytes) -> None:
        read = _Reader(content)
        self._head = read.take(8)
        self._constants: list[bytes] = [b""]  # the first has the index 1
        count = read.u2()
        while len(self._constants) < count:
            tag = read.u1()
            size = read.peek_u2() + 2 if tag == _UTF8 else _SIZES[tag]
            self._constants.append(bytes([tag]) + read.take(size))
            if tag in (_LONG, _DOUBLE):
                self._constants.append(b"")
        self._access = read.take(2)
        self._this = read.u2()
        self._super = read.take(2)
        self._interfaces = [read.u2() for _ in range(read.u2())]
        self._fields = [_read_member(read) for _ in range(read.u2())]
        self._methods = [_read_member(read) for _ in range(read.u2())]
        self._attributes = _read_attributes(read)

    def content(self) -> bytes:
        """The class as a file."""
        constants = b"".join(self._constants)
        return b"".join(
            [
                self._head,
                _u2(len(self._constants)),
                constants,
                self._access,
                _u2(self._this),
                self._super,
                _u2(len(self._interfaces)),
                *map(_u2, self._interfaces),
                _write_members(self._fields),
                _write_members(self._methods),
                _write_attributes(self._attributes),
            ]
        )

    def rename(self, name: str, new: str) -> None:
        """Call a method otherwise; LookupError where there is none, or several."""
        found = [each for each in self._methods if each.name == self.text(name)]
        if len(found) != 1:
            raise LookupError(name)
        found[0].name = self.text(new)

    def add_static(self, name: str, descriptor: str, code: bytes, room: tuple[int, int]) -> int:
        """The index of a static method that is added; room is for values on the stack, and variables."""
        body = struct.pack(">HHI", *room, len(code)) + code + _u2(0) + _u2(0)
        made = _Member(_STATIC, self.text(name), self.text(descriptor), [])
        made.attributes.append((self.text("Code"), body))
        self._methods.append(made)
        return self.member(METHOD, self.name, name, descriptor)

    def replace(self, name: str, before: bytes, after: bytes) -> None:
        """Put some code of a method in the place of as much other code, which it has once."""
        code = self.text("Code")
        methods = [each for each in self._methods if each.name == self.text(name)]
        found = [content for each in methods for key, content in each.attributes if key == code]
        if [content.count(before) for content in found] != [1]:
            raise LookupError(name)
        if len(before) != len(after):
            raise ValueError("other code must be as long")
        methods[0].attributes = [
            (key, content.replace(before, after) if key == code else content)
            for key, content in methods[0].attributes
        ]

    def catch(self, name: str, descriptor: str, handler: bytes, stack: int) -> None:
        """Have a method without result run a handler where an exception would leave it.

        The handler finds the exception on the stack, needs room for `stack` values there, and ends with
        a return. LookupError where the class has no such method.
        """
        wanted = (self.text(name), self.text(descriptor))
        found = [each for each in self._methods if (each.name, each.descriptor) == wanted]
        if len(found) != 1:
            raise LookupError(f"{name}{descriptor}")
        code = self.text("Code")
        found[0].attributes = [
            (key, self._with_handler(content, handler, stack) if key == code else content)
            for key, content in found[0].attributes
        ]

    def _with_handler(self, content: bytes, handler: bytes, stack: int) -> bytes:
        read = _Reader(content)
        most, variables = read.u2(), read.u2()
        code = read.take(read.u4())
        exceptions = [read.take(8) for _ in range(read.u2())]
        attributes = _read_attributes(read)
        everything = self.of_class("java/lang/Exception")
        exceptions.append(struct.pack(">4H", 0, len(code), len(code), everything))
        frames = self.text("StackMapTable")
        before = dict(attributes).get(frames, _u2(0))
        # at the handler there is `this`, and the exception on the stack
        frame = _verified([self._this], [everything])
        attributes = [each for each in attributes if each[0] != frames]
        attributes.append((frames, _with_frame(before, len(code), frame)))
        return b"".join(
            [
                _u2(max(most, stack)) + _u2(variables),
                struct.pack(">I", len(code) + len(handler)) + code + handler,
                _u2(len(exceptions)) + b"".join(exceptions),
                _write_attributes(attributes),
            ]
        )

    @property
    def name(self) -> str:
        """With slashes, as Java writes it here."""
        text = int.from_bytes(self._constants[self._this][1:], "big")
        return self._constants[text][3:].decode()

    def text(self, value: str) -> int:
        """The index of a text; it is added where there is none."""
        content = value.encode()
        return self._constant(_UTF8, _u2(len(content)) + content)

    def string(self, value: str) -> int:
        """The index of a string that code can load."""
        return self._constant(_STRING, _u2(self.text(value)))

    def of_class(self, name: str) -> int:
        """The index of a class."""
        return self._constant(_CLASS, _u2(self.text(name)))

    def member(self, kind: int, owner: str, name: str, descriptor: str) -> int:
        """The index of a FIELD, METHOD or INTERFACE_METHOD of a class."""
        what = self._constant(_NAME_AND_TYPE, _u2(self.text(name)) + _u2(self.text(descriptor)))
        return self._constant(kind, _u2(self.of_class(owner)) + _u2(what))

    def _constant(self, tag: int, content: bytes) -> int:
        constant = bytes([tag]) + content
        if constant not in self._constants:
            self._constants.append(constant)
        return self._constants.index(constant)


class _Reader(BytesIO):
    def take(self, count: int) -> bytes:
        found = self.read(count)
        if len(found) != count:
            raise ValueError("the class file is cut off")
        return found

    def u1(self) -> int:
        return self.take(1)[0]

    def u2(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def u4(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def peek_u2(self) -> int:
        found = self.u2()
        self.seek(-2, 1)
        return found


def _u2(value: int) -> bytes:
    return struct.pack(">H", value)


def _read_attributes(read: _Reader) -> list[tuple[int, bytes]]:
    return [(read.u2(), read.take(read.u4())) for _ in range(read.u2())]


def _write_attributes(attributes: list[tuple[int, bytes]]) -> bytes:
    parts = (_u2(name) + struct.pack(">I", len(each)) + each for name, each in attributes)
    return _u2(len(attributes)) + b"".join(parts)


def _read_member(read: _Reader) -> _Member:
    return _Member(read.u2(), read.u2(), read.u2(), _read_attributes(read))


def _write_members(members: list[_Member]) -> bytes:
    parts = (
        _u2(each.access)
        + _u2(each.name)
        + _u2(each.descriptor)
        + _write_attributes(each.attributes)
        for each in members
    )
    return _u2(len(members)) + b"".join(parts)


def _verified(variables: list[int], stack: list[int]) -> bytes:
    """What stands in local variables and on the stack: objects of these classes."""
    return b"".join(
        _u2(len(values)) + b"".join(bytes([_OBJECT]) + _u2(each) for each in values)
        for values in (variables, stack)
    )


def _with_frame(table: bytes, position: int, frame: bytes) -> bytes:
    """A StackMapTable with one more full frame, behind all others."""
    read = _Reader(table)
    count = read.u2()
    last = -1
    for _ in range(count):
        last += _skip_frame(read) + 1
    return _u2(count + 1) + table[2:] + b"\xff" + _u2(position - last - 1) + frame


def _skip_frame(read: _Reader) -> int:
    """How far a frame is from the one before, less one."""
    kind = read.u1()
    if kind < 128:
        if kind >= 64:
            _skip_types(read, 1)
        return kind % 64
    distance = read.u2()
    if kind == 247:
        _skip_types(read, 1)
    elif 252 <= kind <= 254:
        _skip_types(read, kind - 251)
    elif kind == 255:
        _skip_types(read, read.u2())
        _skip_types(read, read.u2())
    return distance


def _skip_types(read: _Reader, count: int) -> None:
    for _ in range(count):
        if read.u1() in (_OBJECT, 8):  # these two name a class, or a place in the code
            read.take(2)
