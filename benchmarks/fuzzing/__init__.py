"""Fuzzes a service with requests that Schemathesis makes from its OpenAPI document."""
