"""The worker side of a retraining or evaluation that the service starts."""
