"""Tables that the tools of this folder write into documents, between `<!-- NAME -->` and `<!-- /NAME -->`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from emclick.files import write_text


def fill_block(document: Path, name: str, table: str, check: bool) -> None:
    """Put `table` into the block; with `check` only compare, and exit with 1 if the block holds another."""
    before = document.read_text(encoding="utf-8")
    block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
    if not block.search(before):
        sys.exit(f"{document} has no block <!-- {name} --> ... <!-- /{name} -->")
    after = block.sub(lambda found: f"{found[1]}{table}{found[2]}", before)
    if check and after != before:
        sys.exit(f"the table {name} in {document} is not that of its results file: run the tool with --fill")
    if after != before:
        write_text(document, after)
