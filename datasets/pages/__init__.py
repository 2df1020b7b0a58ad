"""The page kit: what reports and the pages of datasets are made of."""
