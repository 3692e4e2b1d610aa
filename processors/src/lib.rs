//! Facts into decisions: pure folds over the journal; no clock, no network, no randomness.
