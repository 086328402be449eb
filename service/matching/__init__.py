"""From image bytes to described faces, and comparisons 1:1 and 1:N."""
