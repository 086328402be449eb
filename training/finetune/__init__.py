"""Fine-tuning: one recipe, one prepared set, one network."""
