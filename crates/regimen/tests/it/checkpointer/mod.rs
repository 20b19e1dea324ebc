//! The checkpointer in a run: times of saves, restores, and failures of the disk, the unit and the user.
#![cfg(feature = "derive")]
#![allow(clippy::panic, clippy::unwrap_used)]

mod after_failure;
mod background;
mod changes;
mod common;
mod failures;
mod finite;
mod load;
mod nan_guard;
mod restore;
mod resume;
#[cfg(unix)]
mod signals;
mod when;
mod writers;
