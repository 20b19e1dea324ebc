//! `#[derive(AppState)]`: see the documentation of `regimen::AppState`.
//!
//! This crate is used through `regimen`, which re-exports the macro; the code it writes names
//! `::regimen`.
#![forbid(unsafe_code)]

mod app_state;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Lists every field of a struct as a part of its `AppState`, under the field's name.
///
/// Each field must be `Stateful`, or be marked `#[app_state(skip)]`: a field that is forgotten
/// does not compile, so it cannot be missing from a checkpoint. `#[app_state(rename = "name")]`
/// gives a part another name, which keeps old checkpoints readable when a field is renamed.
///
/// A name becomes that of a file: at most 200 letters, digits, `_`, `-` and `.`, and no `.` at the
/// beginning. `run` is taken.
#[proc_macro_derive(AppState, attributes(app_state))]
pub fn derive_app_state(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    app_state::derive(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}
