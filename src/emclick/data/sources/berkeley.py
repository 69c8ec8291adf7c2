"""Berkeley: 100 objects on 96 images (McGuinness and O'Connor, 2010), as the RITM family evaluates it.

Layout: `images/NAME.jpg`, `masks/NAME.png` (0 background, 128 = ignored, above it object). A file `239007a`
repeats the image `239007` for another object: here they are one sample with several objects.
"""

from __future__ import annotations

from pathlib import Path

from emclick.data.sources.labelmaps import (
    ImageEntry,
    MaskPairs,
    ObjectFile,
    image_files,
    object_or_ignored,
    pair_by_stem,
    require_folders,
)


def open_berkeley(root: Path) -> MaskPairs:
    """Open the folder that holds `images` and `masks`.

    Object ids are "1" for `NAME` and the letter for `NAMEa`, `NAMEb`.

    Raises:
        DatasetError: a folder is missing, or an image has no mask or a mask no image.
    """
    images, masks = require_folders("berkeley", root, "images", "masks")
    grouped: dict[str, ImageEntry] = {}
    pairs = pair_by_stem("berkeley", image_files("berkeley", images), image_files("berkeley", masks))
    stems = {pair.key for pair in pairs}
    for pair in pairs:  # in order of stem: NAME comes before NAMEa
        base, letter = pair.key[:-1], pair.key[-1]
        if letter.isalpha() and base.isdigit() and base in stems:
            first = grouped[base]
            other = ObjectFile(letter, pair.objects[0].mask)
            grouped[base] = ImageEntry(base, first.image, (*first.objects, other))
        else:
            grouped[pair.key] = pair
    return MaskPairs("berkeley", list(grouped.values()), object_or_ignored)
