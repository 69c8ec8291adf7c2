"""What every dataset must pass, on a tiny tree that its test builds.

Use: subclass as `class TestMine(DatasetContract)`, set the attributes and write `build`.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from emclick.data.sample import Sample, Source
from emclick.data.sources import open_source
from emclick.errors import DatasetError


def read_all(source: Source) -> list[Sample]:
    """Every sample of a source."""
    return [source[index] for index in range(len(source))]


class DatasetContract:
    """Attributes of a subclass:

    dataset: the name in the table of datasets.
    name: the name that the source bears; None where it is the dataset's.
    options: keyword arguments of `open_source`.
    samples, objects: how many the tree of `build` holds.
    keys: the keys expected, in order; None leaves them unchecked.
    broken: file of the tree, relative to the root, that is then cut short: reading must name it.
        None skips that test.
    may_lack_objects: True where a sample without objects is part of the format.
    """

    dataset: ClassVar[str]
    name: ClassVar[str | None] = None
    options: ClassVar[Mapping[str, Any]] = {}
    samples: ClassVar[int]
    objects: ClassVar[int]
    keys: ClassVar[tuple[str, ...] | None] = None
    broken: ClassVar[str | None] = None
    may_lack_objects: ClassVar[bool] = False

    def build(self, root: Path) -> None:
        """Write a tiny tree in the published layout under the empty folder `root`."""
        raise NotImplementedError

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        root = tmp_path / "the däta"  # a blank and a non-ASCII letter, as users have
        root.mkdir()
        self.build(root)
        return root

    @pytest.fixture
    def source(self, root: Path) -> Source:
        return open_source(self.dataset, root, **self.options)

    def test_counts_and_name(self, source: Source) -> None:
        assert source.name == (self.name or self.dataset)
        assert len(source) == len(source.keys) == self.samples
        assert sum(len(source[i].objects) for i in range(len(source))) == self.objects

    def test_keys_are_unique_and_stable(self, source: Source, root: Path) -> None:
        keys = list(source.keys)
        assert all(isinstance(key, str) and key for key in keys)
        assert len(set(keys)) == len(keys)
        if self.keys is not None:
            assert tuple(keys) == self.keys
        again = open_source(self.dataset, root, **self.options)
        assert list(again.keys) == keys
        for index, key in enumerate(keys):
            assert source[index].key == key
            assert [o.id for o in source[index].objects] == [o.id for o in again[index].objects]

    def test_samples_are_well_formed(self, source: Source) -> None:
        for index in range(len(source)):
            sample = source[index]
            height, width = sample.image.shape[:2]
            assert sample.image.shape == (height, width, 3)
            assert sample.image.dtype == np.uint8
            for layer in sample.layers:
                assert layer.shape == (height, width)
                assert np.issubdtype(layer.dtype, np.integer)
            if sample.ignore is not None:
                assert sample.ignore.shape == (height, width)
                assert sample.ignore.dtype == bool
            assert sample.objects or self.may_lack_objects
            ids = [obj.id for obj in sample.objects]
            assert all(ids)
            assert len(set(ids)) == len(ids)
            for obj in sample.objects:
                assert obj.value != 0
                assert 0 <= obj.layer < len(sample.layers)
                if obj.initial_mask is not None:
                    assert obj.initial_mask.shape == (height, width)
                    assert obj.initial_mask.dtype == bool

    def test_targets(self, source: Source) -> None:
        for index in range(len(source)):
            sample = source[index]
            for obj in sample.objects:
                target = sample.target(obj)
                assert target.shape == sample.image.shape[:2]
                assert target.dtype == np.int8
                assert set(np.unique(target).tolist()) <= {-1, 0, 1}
                assert (target == 1).any(), f"object {obj.id} of {sample.key} is empty"
                if sample.ignore is not None:
                    assert (target[sample.ignore] == -1).all()

    def test_reading_twice_gives_the_same(self, source: Source) -> None:
        first, second = source[len(source) - 1], source[len(source) - 1]
        assert np.array_equal(first.image, second.image)
        assert len(first.layers) == len(second.layers)
        for a, b in zip(first.layers, second.layers):
            assert np.array_equal(a, b)

    def test_index_out_of_range(self, source: Source) -> None:
        with pytest.raises(IndexError):
            source[len(source)]

    def test_travels_to_another_process(self, source: Source) -> None:
        copy = pickle.loads(pickle.dumps(source))
        assert list(copy.keys) == list(source.keys)
        assert np.array_equal(copy[0].image, source[0].image)

    def test_empty_root(self, tmp_path: Path) -> None:
        empty = tmp_path / "empty"
        empty.mkdir()
        with pytest.raises(DatasetError, match="empty"):
            open_source(self.dataset, empty, **self.options)

    def test_missing_root(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="not-there"):
            open_source(self.dataset, tmp_path / "not-there", **self.options)

    def test_truncated_file_is_named(self, root: Path) -> None:
        if self.broken is None:
            pytest.skip("this dataset names no file to break")
        path = root / self.broken
        path.write_bytes(path.read_bytes()[:20])
        with pytest.raises(DatasetError, match=re.escape(path.name)):
            read_all(open_source(self.dataset, root, **self.options))
