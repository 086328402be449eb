"""`python -m training train`: one recipe, one prepared set, one network."""
