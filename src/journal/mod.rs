//! The journal after the fact: exported to an archive, replayed to the same decisions, asked why something was done or not.
//! Nothing here writes to a bus or a server.

pub mod export;
mod read;
pub mod replay;
#[cfg(test)]
pub(crate) mod story;
pub mod why;

pub use export::{Exported, export};
pub use read::{appended, appended_to, archived};
pub use replay::{Replayed, replay, replay_judged};
pub use why::{Why, why};

/// Version of the JSON that these commands print; it rises when a field changes its meaning or goes.
pub const SCHEMA_VERSION: u32 = 1;
