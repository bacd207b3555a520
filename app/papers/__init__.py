"""Papers for people: what a receipt or a seal says, as a page and as PDF; whoever calls brings all the facts."""
