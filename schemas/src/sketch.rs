//! Sketches.
