//! Members that lie. They use openmls itself, past our checks; every honest device must refuse what they make, alike, and
//! with its state byte for byte as it was.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod attacks;
mod evil;
mod lifetimes;
mod policies;
mod stores;
mod vectors;
#[allow(dead_code, reason = "the tests outside use the rest")]
#[path = "../../../tests/group_world/mod.rs"]
mod world;
