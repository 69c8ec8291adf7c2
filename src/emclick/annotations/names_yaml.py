"""The list of names in a YOLO `data.yaml`: just that much YAML, so that no file can do more than name classes.

Understood is a top-level `names:` as a block or flow list or mapping of plain or quoted strings on one line
each (a flow may span lines); everything else in the file is passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from emclick.annotations.errors import AnnotationError
from emclick.annotations.reading import read_text

_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")
_ESCAPES = {
    "0": "\0",
    "a": "\a",
    "b": "\b",
    "t": "\t",
    "n": "\n",
    "v": "\v",
    "f": "\f",
    "r": "\r",
    "e": "\x1b",
}
_ESCAPES |= {" ": " ", '"': '"', "/": "/", "\\": "\\", "N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029"}
_CODES = {"x": 2, "u": 4, "U": 8}
_ENTRY = re.compile(r"(?P<key>\d+|'\d+'|\"\d+\")\s*:(?:\s+|$)(?P<value>.*)", re.DOTALL)


def write_names(names: Sequence[str]) -> str:
    """The `names:` block, numbered from 0, each name in double quotes."""
    if not names:
        return "names: {}\n"
    return "names:\n" + "".join(f"  {number}: {_quoted(name)}\n" for number, name in enumerate(names))


def _quoted(name: str) -> str:
    text = json.dumps(name, ensure_ascii=False)  # YAML's double quotes hold all of JSON's escapes
    return _UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def read_names(path: Path) -> dict[int, str]:
    """Class names by number, from a `data.yaml`, or from a text file with one name a line.

    Raises:
        AnnotationError: no names in it, written in a way that is not understood, or too large.
        OSError: it cannot be read.
    """
    text = read_text(path)
    lines = [line.rstrip("\r") for line in text.split("\n")]
    if path.suffix.lower() not in (".yaml", ".yml"):
        return {number: line.strip() for number, line in enumerate(lines) if line.strip()}
    for number, line in enumerate(lines):
        found = re.match(r"(?:names|'names'|\"names\")\s*:(?:\s+(.*))?$", line)
        if found:
            try:
                rest = _uncommented(found[1] or "").strip()
                if rest[:1] in ("[", "{"):
                    return _flow("\n".join([rest, *map(_uncommented, lines[number + 1 :])]))
                if not rest:
                    return _block(lines[number + 1 :])
            except (ValueError, IndexError) as error:
                raise AnnotationError(f"{path}: the names cannot be read: {error}") from error
            raise AnnotationError(f"{path}: names is a list or numbers with names, not {rest[:40]!r}")
    raise AnnotationError(f"{path} has no names:")


def _block(lines: Sequence[str]) -> dict[int, str]:
    names: dict[int, str] = {}
    for line in lines:
        plain = _uncommented(line).strip()
        if not plain or plain in ("---", "..."):
            continue
        if plain.startswith("- "):
            names[len(names)] = _scalar(plain[2:].strip())
        elif line[:1] not in (" ", "\t"):
            break  # the next key of the file
        else:
            _put(names, plain)
    return names


def _put(names: dict[int, str], text: str) -> None:
    found = _ENTRY.fullmatch(text)
    if not found:
        raise ValueError(f"{text[:60]!r} is not NUMBER: NAME")
    number = int(found["key"].strip("'\""))
    if number in names:
        raise ValueError(f"the number {number} is there twice")
    names[number] = _scalar(found["value"].strip())


def _flow(text: str) -> dict[int, str]:
    close = {"[": "]", "{": "}"}[text[0]]
    names: dict[int, str] = {}
    start = at = 1
    while True:
        if at >= len(text):
            raise ValueError(f"the closing {close} is missing")
        char = text[at]
        if char in "'\"" and not text[start:at].strip(" \n\t0123456789:'\""):
            at = _after_quote(text, at)
            continue
        if char in (",", close):
            part = " ".join(text[start:at].split("\n")).strip()
            if part and close == "]":
                names[len(names)] = _scalar(part)
            elif part:
                _put(names, part)
            if char == close:
                return names
            start = at + 1
        elif char in "[]{}":
            raise ValueError("lists within lists")
        at += 1


def _after_quote(text: str, at: int) -> int:
    quote = text[at]
    at += 1
    while text[at] != quote:
        at += 2 if text[at] == "\\" and quote == '"' else 1
    return at + 1


def _uncommented(line: str) -> str:
    """The line up to a comment: a # at its start or after a blank, outside quotes."""
    at, fresh = 0, True
    while at < len(line):
        char = line[at]
        if char in "'\"" and fresh:
            try:
                at = _after_quote(line, at)
            except IndexError:
                return line
            fresh = False
            continue
        if char == "#" and (at == 0 or line[at - 1] in " \t"):
            return line[:at]
        fresh = char in " \t[{,:-" and (fresh or char != "-")
        at += 1
    return line


def _scalar(text: str) -> str:
    if text[:1] == "'":
        if not re.fullmatch(r"'(?:[^']|'')*'", text, re.DOTALL):
            raise ValueError(f"{text[:60]} is quoted wrongly")
        return text[1:-1].replace("''", "'")
    if text[:1] == '"':
        return _double(text)
    if text[:1] in ("&", "*", "!", "|", ">", "%", "@", "`", "[", "{"):
        raise ValueError(f"{text[:60]!r} is more YAML than a name needs; put names in quotes")
    return text


def _double(text: str) -> str:
    if len(text) < 2 or _after_quote(text, 0) != len(text):
        raise ValueError(f"{text[:60]} is quoted wrongly")
    out: list[str] = []
    at = 1
    while at < len(text) - 1:
        char = text[at]
        at += 1
        if char != "\\":
            out.append(char)
            continue
        kind = text[at]
        at += 1
        if kind in _CODES:
            out.append(chr(int(text[at : at + _CODES[kind]], 16)))
            at += _CODES[kind]
        elif kind in _ESCAPES:
            out.append(_ESCAPES[kind])
        else:
            raise ValueError(f"\\{kind} is no escape")
    # JSON writers put a character above U+FFFF as two escapes
    return "".join(out).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
