"""Enrolment: samples of a subject become templates in one transaction."""
