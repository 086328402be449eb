"""Fine-tuning: trains a network on a prepared set by one recipe."""
