//! Sinks keep what people look at later, and tell them what they must know now. Records enter from the bus; files, lines in stores and
//! messages to channels leave. They decide nothing and change no server.

pub mod archive;
pub mod channels;
pub mod graphite;
mod http;
mod influx;
pub mod lake;
pub mod line;
pub mod points;
mod remote;
pub mod store;
pub mod witness;
