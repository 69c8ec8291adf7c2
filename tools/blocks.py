"""Tables that the tools of this folder write into documents, between `<!-- NAME -->` and `<!-- /NAME -->`."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emclick.files import require_folder, write_text


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


def run_tool(
    about: str | None,
    name: str,
    output: Path,
    measure: Callable[[], dict[str, Any]],
    table: Callable[[Any], str],
) -> None:
    """The command line of a tool that measures into a results file and fills one block of a document from it.

    Args:
        about: its help.
        name: of the block.
        output: the results file, where `--output` names no other.
        measure: gives what the file holds.
        table: of that, markdown.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=output)
    parser.add_argument(
        "--fill", type=Path, help=f"markdown file whose block `<!-- {name} -->` takes the tables"
    )
    parser.add_argument("--check", action="store_true", help="only hold the tables against the results file")
    arguments = parser.parse_args()
    if not arguments.check:
        require_folder(arguments.output)
        results = measure()
        write_text(arguments.output, json.dumps(results, indent=1) + "\n")
        print(table(results))
    if arguments.fill:
        results = json.loads(arguments.output.read_text(encoding="utf-8"))
        fill_block(arguments.fill, name, table(results), arguments.check)
