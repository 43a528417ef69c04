"""Scripts of the maintainers: checks, benchmarks, studies, endurance runs."""
