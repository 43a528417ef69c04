"""The only room that names files, LMDB and memory maps."""
