//! The judgement as a whole: what it finds, what it leaves, and that a restart changes nothing.

#![allow(clippy::print_stdout, reason = "what was measured is told")]

mod daily;
mod life;
mod numbers;
mod proof;
mod quality;
mod site;
mod traffic;
