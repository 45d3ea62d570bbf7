"""Run by test_fiftyone.py with FiftyOne: DATASET, a file of `sigrl tag --out`. FIFTYONE_DATABASE_URI names a
MongoDB."""

import sys
from pathlib import Path

import fiftyone as fo
from fiftyone import ViewField as F

# As in docs/bulk.md.
dataset = fo.Dataset.from_json(sys.argv[1])
unconfirmed = F("accepted") & ~F("$truth.classifications.label").contains([F("label")])

assert dataset.media_type == "image"
assert len(dataset) == 2
for sample in dataset:
    assert Path(sample.filepath).is_file()
    assert isinstance(sample.sigrl, fo.Classifications)
    found = {tag.label: tag for tag in sample.sigrl.classifications}
    assert set(found) == {"dog", "cat"}
    assert 0 < found["dog"].confidence < 1
    assert found["dog"].threshold == 0
    assert found["dog"].accepted is True

first, second = dataset
first["truth"] = fo.Classifications(classifications=[fo.Classification(label="dog")])
first.save()
wrong = dataset.exists("truth").filter_labels("sigrl", unconfirmed)
assert wrong.values("filepath") == [first.filepath]
assert wrong.values("sigrl.classifications.label") == [["cat"]]
dataset.delete()
