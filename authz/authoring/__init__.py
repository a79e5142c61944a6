"""What the tools for policy authors are made of: cases, dry runs, coverage reports, comparisons, samples."""
