"""Reading of small text files as data: sizes are limited, and a syntax error is one sentence. (YAML: `config.yaml_data`.)"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from biomech_fit.core.errors import InputError

MAX_TEXT_BYTES = 16 * 1024 * 1024


def read_text(path: str | Path, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """The file's text (UTF-8). `InputError` if it is absent, larger than `max_bytes` or not text."""
    path = Path(path)
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise InputError(f"'{path}' is not a file.")
        if size > max_bytes:
            raise InputError(f"'{path}' has {size} bytes; at most {max_bytes} are read.")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"'{path}' is not a text file.") from None
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}.") from None


def parse_toml(text: str, path: str | Path) -> dict[str, Any]:
    """TOML text as a dict; `InputError` naming the file and the line."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"'{path}' is not valid TOML: {error}.") from None


def parse_json(text: str, path: str | Path) -> Any:
    """JSON text as plain values; `InputError` naming the file and the line."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"'{path}' is not valid JSON: {error}.") from None


def parse_xml(text: str, path: str | Path) -> ElementTree.Element:
    """The root element of XML text. A document type, hence any entity of its own, is refused; `InputError` naming the file and the line."""
    tree = ElementTree.TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def refuse(*_: object) -> None:
        raise InputError(f"'{path}', line {parser.CurrentLineNumber}: a document type (<!DOCTYPE) is not read.")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = tree.start, tree.end, tree.data
    try:
        parser.Parse(re.sub(r"\A\s*<\?xml[^>]*\?>", "", text), True)
    except expat.ExpatError as error:
        raise InputError(f"'{path}' is not valid XML in line {error.lineno}: {expat.ErrorString(error.code)}.") from None
    return tree.close()
