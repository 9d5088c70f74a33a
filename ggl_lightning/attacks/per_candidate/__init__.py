"""Per-candidate gradients compared with the received ones, a whole population in one pass.

One forward and one backward pass (`population_pass`) give every layer's input and output gradient;
a rule per layer type (`rules`) turns them into what the distances are made of (`comparison`).
"""
