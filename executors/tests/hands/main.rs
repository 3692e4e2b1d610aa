//! The hands over real servers, in the situations in which a server does not do at once what it is told.

#![expect(clippy::unwrap_used, reason = "in a test, the panic is the report")]

mod half;
mod link;
