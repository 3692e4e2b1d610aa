//! Rules on a stage: series go in second by second, and what is found is compared. Every shipped rule begins and ends on a bad
//! series and is silent on a healthy one.

mod engine;
mod files;
mod judges;
mod shipped;
mod stage;
