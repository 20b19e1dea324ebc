//! `#[derive(AppState)]` and `#[derive(ToDevice)]`. The traits are documented in `regimen`.
//!
//! Use this crate through `regimen`, which re-exports the macros. The generated code refers to `::regimen`.
#![forbid(unsafe_code)]

mod app_state;
mod to_device;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Derives `AppState`: every field of a struct becomes a part with the field's name.
///
/// Each field must be `Stateful` or be marked `#[app_state(skip)]`. A forgotten field does not
/// compile, so it cannot be missing from a checkpoint. `#[app_state(rename = "name")]` gives a part
/// another name, which keeps old checkpoints readable when a field is renamed.
///
/// `#[app_state(with = wrapper)]` saves a field through a `Stateful` wrapper that is constructed from
/// `&mut field`. An engine's module is saved this way, with `ModuleState` of `regimen-burn` or `regimen-torch`.
///
/// `#[app_state(nested)]` saves a field that is itself an `AppState` as its own parts, each under the
/// field's name and a dot. So an engine in the field `engine` is the parts `engine.module` and
/// `engine.optimizer`.
///
/// A part's name becomes a file name: at most 200 letters, digits, `_`, `-` and `.`, with no `.` at
/// the beginning. The name `run` is reserved.
#[proc_macro_derive(AppState, attributes(app_state))]
pub fn derive_app_state(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    app_state::derive(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Derives `ToDevice`: every field of a struct or an enum is moved to the device, in field order.
///
/// The implementation holds for every device to which all fields can be moved, so a custom batch is
/// bound to an engine only through its fields. A field marked `#[to_device(skip)]` is not moved and
/// may have any type. A field that cannot be moved is an error at that field.
///
/// Recursive types (`Vec<Self>`) are not supported; implement the trait by hand.
#[proc_macro_derive(ToDevice, attributes(to_device))]
pub fn derive_to_device(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    to_device::derive(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}
