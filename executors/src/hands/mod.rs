//! The hands: the one impure place. A step request comes in, is checked against the promises, done, and what was seen goes out.

pub mod server;
