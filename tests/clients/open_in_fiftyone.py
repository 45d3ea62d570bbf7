"""Run by test_fiftyone.py with FiftyOne: DATASET, a file of `sigrl tag --out`.

FiftyOne keeps datasets in MongoDB, which it downloads. Without that its own classes still read the samples.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import fiftyone as fo
from fiftyone import ViewField as F

# As in docs/bulk.md.
UNCONFIRMED = F("accepted") & ~F("$truth.classifications.label").contains(F("label"))

content = json.loads(Path(sys.argv[1]).read_text())
assert content["media_type"] == "image"
samples = [fo.Sample.from_dict(each) for each in content["samples"]]
assert len(samples) == 2
for sample in samples:
    assert Path(sample.filepath).is_file()
    assert isinstance(sample.sigrl, fo.Classifications)
    found = {tag.label: tag for tag in sample.sigrl.classifications}
    assert set(found) == {"dog", "cat"}
    assert 0 < found["dog"].confidence < 1
    assert found["dog"].threshold == 0
    assert found["dog"].accepted is True
assert UNCONFIRMED.to_mongo()

if shutil.which("mongod") or "FIFTYONE_DATABASE_URI" in os.environ:
    dataset = fo.Dataset.from_json(sys.argv[1])
    assert dataset.count("sigrl.classifications") == 4
    sample = dataset.first()
    sample["truth"] = fo.Classifications(classifications=[fo.Classification(label="dog")])
    sample.save()
    wrong = dataset.exists("truth").filter_labels("sigrl", UNCONFIRMED)
    assert wrong.values("sigrl.classifications.label") == [["cat"]]
    dataset.delete()
