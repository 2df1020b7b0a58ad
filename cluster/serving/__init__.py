"""Trained runs behind HTTP: a Ray Serve application of a gateway and, for each run, replicas that hold its model.

gateway (FastAPI: the page, limits, tokens) ──► model replicas (batches, pictures as files) ──► `dmgan.TextToImage`
"""
