"""The SigRL method: backbone, label graph, feature reconstruction, heads and the checkpoint bundle.

This package knows no HTTP, no database and no training loop.
"""
