//! The commands of the program as a user runs them, against real servers.

mod doctor;
mod topology;
