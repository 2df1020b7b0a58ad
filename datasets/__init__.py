"""Captions and images in, batches out: readers, packing into tar shards, planning an epoch, streaming."""
