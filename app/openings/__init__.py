"""What a customer brings along from the system before: energy left, old debt, money kept."""
