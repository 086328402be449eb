"""The documentation as a site: `docs/`, and reference pages made from the code, built without a network."""
