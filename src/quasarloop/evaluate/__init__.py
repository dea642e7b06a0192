"""How good it became: metrics, repeats, comparisons, figures and the report."""
