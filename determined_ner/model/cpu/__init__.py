"""What makes a model faster on a CPU, and changes no result but the random numbers of dropout, and rounding."""
