"""What can be measured of a whole data set: copies, wrong labels, shift, shortcuts, leaks, tails. Arrays in, plain data out;
`copies`, `reviewing`, `comparing`, `metadata`, `leaks`, `annotations` and `scales` ask them of a scan."""
