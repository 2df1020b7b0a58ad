"""From captioned images to shards and a manifest."""
