//! Saved state: arrays by name, the types with a saved state, and the parts of a unit.

pub(crate) mod ranks;
mod spare;
mod state_dict;
mod stateful;

pub use ranks::SHARE;
pub use spare::with_spares;
pub use state_dict::{Array, Dtype, Element, MAX_COUNT, StateDict};
pub(crate) use stateful::keep_parts;
pub use stateful::{
    AppState, Parts, Stateful, load_parts, load_parts_except, save_parts, save_parts_in_shares,
    save_parts_of_ranks, weight_parts,
};
