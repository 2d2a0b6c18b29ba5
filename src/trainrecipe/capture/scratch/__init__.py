"""Copy-on-write for a rehearsal: files that the script writes go to a scratch folder and are read back from there."""
