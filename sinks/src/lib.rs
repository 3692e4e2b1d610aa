//! Sinks keep what people look at later. Records enter from the bus; files, and lines in stores, leave. They decide nothing and change
//! no server.

pub mod archive;
mod influx;
pub mod line;
pub mod points;
mod remote;
pub mod store;
pub mod witness;
