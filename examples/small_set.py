"""`python examples/small_set.py FOLDER`: a small labelled set, cut out of the public-domain photographs here.

Three folders, named after what they show, of thirty crops each: enough to see a training run from end to end,
and not enough to learn anything from. Put folders of your own in their place.
"""

import random
import sys
from pathlib import Path

from PIL import Image

PHOTOGRAPHS = {"cat": "cat.jpg", "cup of coffee": "coffee.jpg", "rocket": "rocket.jpg"}
CROPS = 30


def main(folder: Path) -> None:
    """Writes the set, or says why not."""
    if folder.exists():
        sys.exit(f"{folder} is there already: name another folder")
    draw = random.Random(0)
    for label, name in PHOTOGRAPHS.items():
        photograph = Image.open(Path(__file__).with_name(name)).convert("RGB")
        (folder / label).mkdir(parents=True)
        for number in range(CROPS):
            width, height = (int(side * draw.uniform(0.6, 1.0)) for side in photograph.size)
            left, top = draw.randint(0, photograph.width - width), draw.randint(0, photograph.height - height)
            crop = photograph.crop((left, top, left + width, top + height))
            crop.thumbnail((400, 400))
            crop.save(folder / label / f"{number:02}.jpg", quality=90)
    print(f"{folder}: {len(PHOTOGRAPHS) * CROPS} photographs of {', '.join(PHOTOGRAPHS)}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
