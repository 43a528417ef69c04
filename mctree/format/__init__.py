"""Bytes and values: keys, records, facts, array layouts, Zarr metadata. Opens no file."""
