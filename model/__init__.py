"""The SigRL method: backbone, label graph, feature reconstruction, heads and the checkpoint bundle.

Knows no HTTP, no database and no training loop.
"""
