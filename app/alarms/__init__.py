"""What staff must look at: work items with an owner and an end."""
