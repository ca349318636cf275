"""How much fraud a member's detector catches: rules, alone, with the exchange, on pooled raw data."""
