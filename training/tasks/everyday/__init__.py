"""`task: everyday`: the recipe of the bundled checkpoint, from folders of photographs to a bundle.

sources, targets     read the data sets and turn their labels into matrices
frozen_features      runs the frozen image tower once over all photographs
teacher              makes the pseudo-labels of all stages
views                crops photographs for the later stages
network, training    train the last blocks, with heads for known words and for any word
run                  runs these stages one after another and resumes interrupted ones
left_out, new_words  train a second time without some words, to fit the weights of new words
draft                builds the evidence head; graph and known_words fit its weights for known words,
                     and known_words chooses the default threshold
assemble, fit        build the bundle from towers and head
"""
