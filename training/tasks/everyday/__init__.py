"""`task: everyday`: the recipe of the bundled checkpoint, from folders of photographs to a bundle.

sources, targets     what each data set says of its photographs
frozen_features      the untouched image tower, once over all of them
teacher              a first guess at every known word, from dense labels alone
network, training    tuned last blocks with heads for known words and for any word
run                  one after another, each taken up where it was left
left_out, new_words  a second training without some words tells how to weigh words that nobody labelled
draft                the evidence head, with graph and known_words, which weigh what was labelled
assemble, fit        towers and head become the bundle
"""
