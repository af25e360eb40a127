"""Terminals in web browsers: links that open once, the page behind them, and the process that it shows."""
