"""The till: opened by a cashier, counted, closed by a supervisor; its receipts are numbered without a gap."""
