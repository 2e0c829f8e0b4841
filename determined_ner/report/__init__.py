"""The report on a trained model: what is computed, the pictures, the page, and the command that writes them."""
