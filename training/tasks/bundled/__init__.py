"""The small recipe on COCO captions: `pretrain` trains the towers, then `fit` trains a head on them."""
