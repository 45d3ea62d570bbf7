"""Models that others publish: the list of them, their download, and their conversion into bundles."""
