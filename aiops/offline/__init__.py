"""Offline: the daemon's engines on plain files, so that they can be tried and trusted before anything is installed."""
