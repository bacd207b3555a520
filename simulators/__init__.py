"""Software terminals that know only the public contract, and fleets of them."""
