//! Statement digests.
