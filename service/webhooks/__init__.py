"""Sends decisions to a receiver: signed, kept until it confirms them, tried again."""
