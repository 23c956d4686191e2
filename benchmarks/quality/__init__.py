"""How good searches are: any searcher and scheduler on tabulated benchmarks, with a simulated clock."""
