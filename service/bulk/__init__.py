"""Bulk enrolment: many photos of many subjects from a folder, an archive or a CSV, with a report."""
