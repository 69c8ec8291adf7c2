"""The base network in 8-bit integers: near the float one, kept beside it, asked for by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import emclick
from emclick.errors import OptionError, WeightsError
from emclick.graphs import MANIFEST_NAME
from emclick.networks.export import ASSETS
from emclick.networks.quantize import export_int8, photographs
from emclick.zoo import find_folder

SIDE = 192


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model without, then with, the quantised graph."""
    target = tmp_path_factory.mktemp("int8") / "model"
    shutil.copytree(find_folder("emc-mobilenetv2"), target)
    content = json.loads((target / MANIFEST_NAME).read_text(encoding="utf-8"))
    content.pop("int8", None)
    (target / MANIFEST_NAME).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(OptionError, match="holds no int8 graph: make it with `emclick export"):
        emclick.load(target, precision="int8")
    before, after = export_int8(target, photographs(ASSETS, 2))
    assert after < 0.7 * before
    return target


def test_masks_are_nearly_those_in_float(folder: Path) -> None:
    image = emclick.images.read_image(sorted(ASSETS.glob("*.jpg"))[0])
    height, width = image.shape[:2]
    masks = []
    for precision in ("fp32", "int8"):
        model = emclick.load(folder, precision=precision)
        assert model.runtime.precision == precision
        session = emclick.Session(model, image, short_side=SIDE)
        session.click(width / 2, height / 2)
        masks.append(session.click(5, 5, positive=False).mask)
    assert masks[0].any()
    assert not np.array_equal(*masks)
    assert (masks[0] & masks[1]).sum() > 0.8 * (masks[0] | masks[1]).sum()


def test_a_changed_graph_and_a_missing_photograph_are_refused(folder: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(folder, changed)
    (changed / "first.int8.onnx").write_bytes(b"0")
    with pytest.raises(WeightsError, match=r"first\.int8\.onnx is truncated or changed"):
        emclick.load(changed, precision="int8")
    emclick.load(changed)  # the float graphs are as they were
    with pytest.raises(OptionError, match="no photographs in"):
        photographs(tmp_path, 3)
    with pytest.raises(OptionError, match="no photographs"):
        export_int8(folder, [])
