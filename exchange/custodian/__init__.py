"""The custodian's process: one share of every token key, budgets, partial evaluations with proofs."""
