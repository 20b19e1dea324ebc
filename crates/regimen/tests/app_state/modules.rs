//! The module of an engine, and the type it is saved through.

use regimen::saved::AppState;

struct Linear;

#[derive(AppState)]
struct Trainer {
    steps: u64,
    network: Linear,
}

fn main() {}
