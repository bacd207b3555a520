"""A cashier sells energy: quote, sell, receipt."""
