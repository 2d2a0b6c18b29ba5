"""Checks on the data sets themselves, as a scan has read and measured them."""
