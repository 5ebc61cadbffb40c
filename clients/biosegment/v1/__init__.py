"""Generated from proto/biosegment/v1 by `make proto`; never edited by hand."""
