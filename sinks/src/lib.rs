//! Sinks keep what people look at later. Records enter from the bus, files leave. They decide nothing and change no server.

pub mod archive;
