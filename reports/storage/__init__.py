"""Folders on any file system: this machine's paths, and URIs of the ones that fsspec knows."""
