"""The embedder that is built in: faces, a teacher's labels of them, and patient distillation."""
