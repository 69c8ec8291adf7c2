"""`emclick models`: what there is to load."""

from __future__ import annotations


def models_command() -> None:
    """List the models: what each is, and whether its weights are here or how to get them."""
    from rich.console import Console
    from rich.table import Table

    from emclick.card import read_card
    from emclick.errors import WeightsError
    from emclick.zoo import DEFAULT_MODEL, ZOO, find_folder

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("model", "weights", "what it is"):
        table.add_column(column, overflow="fold")
    for name, entry in ZOO.items():
        try:
            card = read_card(find_folder(name))
            weights = f"here, {card.short_side} px frame"
            about = entry.about
        except WeightsError:
            weights, about = "not here", f"{entry.about}; {entry.obtain}"
        table.add_row(f"{name} *" if name == DEFAULT_MODEL else name, weights, about)
    console = Console()
    console.print(table)
    console.print("* default")
