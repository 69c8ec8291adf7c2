"""Tables of names, built in and from entry points."""

import pickle
from importlib.metadata import EntryPoint

import pytest

from emclick import registry
from emclick.errors import UnknownNameError
from emclick.registry import Registry

TABLE = {"b": "json:dumps", "a": "json:loads"}


def test_names_are_imported_when_asked_for():
    import json

    table = Registry("thing", "emclick.things", TABLE)
    assert table["b"] is json.dumps
    assert sorted(table) == ["a", "b"]
    assert len(table) == 2
    assert "a" in table
    assert "c" not in table


def test_an_unknown_name_lists_the_known_ones_and_survives_pickling():
    table = Registry("thing", "emclick.things", TABLE)
    with pytest.raises(UnknownNameError, match=r"unknown thing 'c'; choose from a, b") as caught:
        table["c"]
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert type(again) is UnknownNameError


def test_entry_points_add_names_but_do_not_replace_built_in_ones(monkeypatch):
    points = [
        EntryPoint("mine", "math:sqrt", "emclick.things"),
        EntryPoint("a", "math:floor", "emclick.things"),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "emclick.things" else [])
    import json
    import math

    table = Registry("thing", "emclick.things", TABLE)
    assert table["mine"] is math.sqrt
    assert table["a"] is json.loads
    assert "mine" not in Registry("other", "emclick.others", TABLE)
