//! The checkpointer in a run: when it saves, what a run goes on from, and what it does when the
//! disk, the unit or the user gets in its way.
#![cfg(feature = "derive")]
#![allow(clippy::panic, clippy::unwrap_used)]

mod after_failure;
mod background;
mod changes;
mod common;
mod failures;
mod finite;
mod load;
mod restore;
mod resume;
#[cfg(unix)]
mod signals;
mod when;
mod writers;
