"""The default install holds no PyTorch: nothing on the way from a photograph to a mask may want it."""

import subprocess
import sys

import numpy as np
import pytest

from emclick.images import read_mask, write_mask
from helpers import picture

WITHOUT = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused!r}:
            raise ImportError(f"{{name}} is not to be imported here")

sys.meta_path.insert(0, Refuse())
{code}
"""
REFUSED = ("torch", "onnx", "onnxscript", "openvino", "scipy", "matplotlib", "pycocotools", "tensorboard")


def run(code: str, refused: tuple[str, ...] = REFUSED, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = WITHOUT.format(refused=refused, code=code)
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=120
    )


def test_a_session_wants_no_torch() -> None:
    result = run(
        "import emclick, numpy\n"
        "session = emclick.Session(emclick.load(), numpy.zeros((60, 80, 3), numpy.uint8), flip=True)\n"
        "session.click(30, 20); session.click(50, 50, positive=False); session.undo()\n"
        "print(session.mask.shape, sorted({'torch', 'cv2'} & set(sys.modules)))"
    )
    assert result.stderr == ""
    assert result.stdout.strip() == "(60, 80) ['cv2']"


def test_the_segment_command_wants_no_torch(tmp_path) -> None:
    write_mask(tmp_path / "given.png", np.eye(40, 56, dtype=bool))
    import cv2

    cv2.imwrite(str(tmp_path / "photo.png"), picture())
    result = run(
        "sys.argv = ['emclick', *sys.argv[1:]]\nfrom emclick.cli import main\nmain()", REFUSED,
        "segment", str(tmp_path / "photo.png"), "--click", "20,20", "--initial-mask", str(tmp_path / "given.png"),
        "-o", str(tmp_path / "mask.png"), "--overlay", str(tmp_path / "overlay.png"),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert read_mask(tmp_path / "mask.png").shape == (40, 56)


@pytest.mark.parametrize("command", ["train", "convert", "export"])
def test_commands_that_want_it_say_so(command: str, tmp_path) -> None:
    hide = (
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda n, *a: None if n == 'torch' else find(n, *a)"
    )
    more = {"convert": ["-o", str(tmp_path / "out")]}.get(command, [])
    result = run(
        f"{hide}\nsys.argv = ['emclick', *sys.argv[1:]]\nfrom emclick.cli import main\nmain()", REFUSED,
        command, "anything", *more,
    )  # fmt: skip
    assert result.returncode == 1
    assert "emclick[torch]" in result.stderr
    assert "Traceback" not in result.stderr
