"""The small recipe on COCO captions: towers by `pretrain`, then a head on them by `fit`."""
