"""Measures recognition rates with intervals, by condition, and reports them."""
