"""Training with a single positive label per photograph, on VOC and COCO."""
