//! Sinks keep what people look at later. Records enter from the bus; files, and lines in stores, leave. They decide nothing and change
//! no server.

pub mod archive;
pub mod influx;
pub mod line;
pub mod points;
pub mod witness;
