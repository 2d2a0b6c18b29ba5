"""What is said where the packages of the data stage are missing."""

MISSING = "reading data sets into a table needs DuckDB: pip install 'trainrecipe[data]'"
