"""What programs import of Halflight: `halflight.client`, the client of the service."""
