"""HTTP/1.1 for visitors with connect tokens: strict about what comes in from either side, and what goes on says one thing only."""
