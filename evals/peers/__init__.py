"""What one could use instead of the loop, as arms of the same suites on the same seeds."""
