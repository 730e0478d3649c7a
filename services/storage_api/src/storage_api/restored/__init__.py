"""Putting the platform right after a backup of MongoDB was put back."""
