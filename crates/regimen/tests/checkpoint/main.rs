//! Checkpoints survive what can happen to a process and to a disk.

mod common;
mod contract;
mod crash;
mod damage;
mod faults;
mod format;
mod lock;
mod python;
mod restore;
mod retention;
mod safetensors;
