"""The job engine: states, leases, fences, the ledger of blocks, the reconciler."""
