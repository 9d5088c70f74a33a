"""Per-candidate gradients compared with the received ones, a whole population in one pass.

One forward and one backward pass (`population_pass`) give every layer's input and output gradient;
a rule per layer type (`rules`) turns them into gradients or into what the distances are made of
(`comparison`). Parameters that no rule covers take the `general_path`. `candidate_gradients`
decides which takes which and puts them together; from there, `population_distances` have a closed
form and `entry_distances` take all entries.
"""
