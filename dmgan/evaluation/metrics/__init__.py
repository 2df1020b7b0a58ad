"""IS, FID and R-precision as sums that add up across workers, one file each."""
