"""The public names: a removed one fails here, and importing the package stays cheap."""

import subprocess
import sys

import pytest

import emclick

PUBLIC = {
    "Click", "EmclickError", "Model", "Prediction", "Session", "evaluate", "list_models", "load", "read_image",
    "read_mask", "write_mask", "write_overlay", "__version__",
}  # fmt: skip


def test_the_public_names_are_these():
    assert set(emclick.__all__) == PUBLIC
    assert all(getattr(emclick, name) is not None for name in PUBLIC)
    assert set(dir(emclick)) == PUBLIC


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = emclick.no_such_thing


def test_every_public_error_is_of_a_built_in_kind():
    from emclick import errors

    raised = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type)
        and issubclass(kind, emclick.EmclickError)
        and kind is not emclick.EmclickError
    ]
    assert len(raised) > 10
    assert all(issubclass(kind, (ValueError, TypeError, OSError)) for kind in raised)


def test_import_and_the_zoo_bring_no_torch():
    code = "import sys, emclick; emclick.list_models(); emclick.Session; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
