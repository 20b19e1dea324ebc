//! `#[derive(AppState)]` and `#[derive(ToDevice)]`: see the documentation of the traits in `regimen`.
//!
//! This crate is used through `regimen`, which re-exports the macros; the code they write names
//! `::regimen`.
#![forbid(unsafe_code)]

mod app_state;
mod to_device;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Lists every field of a struct as a part of its `AppState`, under the field's name.
///
/// Each field must be `Stateful`, or be marked `#[app_state(skip)]`: a field that is forgotten
/// does not compile, so it cannot be missing from a checkpoint. `#[app_state(rename = "name")]`
/// gives a part another name, which keeps old checkpoints readable when a field is renamed.
///
/// `#[app_state(with = wrapper)]` saves a field through a wrapper that is `Stateful` and is made of
/// `&mut field`. That is how an engine's module is saved, with `ModuleState` of `regimen-burn` or
/// `regimen-torch`.
///
/// A name becomes that of a file: at most 200 letters, digits, `_`, `-` and `.`, and no `.` at the
/// beginning. `run` is taken.
#[proc_macro_derive(AppState, attributes(app_state))]
pub fn derive_app_state(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    app_state::derive(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Moves every field of a struct or an enum to the device, in their order.
///
/// It is for every device to which all fields can be moved, so a batch of one's own is no more bound
/// to an engine than its fields are. A field marked `#[to_device(skip)]` stays where it is, whatever its
/// type. Where a field cannot be moved, that is an error at the field.
///
/// A type that holds itself (`Vec<Self>`) is not for it: implement the trait by hand.
#[proc_macro_derive(ToDevice, attributes(to_device))]
pub fn derive_to_device(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    to_device::derive(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}
