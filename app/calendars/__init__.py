"""When nobody may be cut off: hours, weekends, public holidays and single days, office by office."""
