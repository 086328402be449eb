"""Pre-training: a classifier of visible-light subjects that fine-tuning starts from."""
