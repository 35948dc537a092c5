"""Joining or starting Ray, and checking every node before anything is scheduled there."""
