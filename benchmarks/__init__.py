"""What cove costs, measured beside what lies under it, in the same run and interleaved: ``make bench``."""
