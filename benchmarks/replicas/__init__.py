"""Kills replicas of one database under mixed load, and times until each shows what another one wrote."""
