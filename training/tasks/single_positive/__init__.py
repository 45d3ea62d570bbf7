"""Training with a single positive label for each photograph, on VOC and COCO."""
