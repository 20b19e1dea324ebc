//! Names that cannot be those of parts.

use regimen::saved::AppState;

#[derive(AppState)]
struct Taken {
    run: u64,
}

#[derive(AppState)]
struct Twice {
    steps: u64,
    #[app_state(rename = "steps")]
    epochs: u64,
}

#[derive(AppState)]
struct Path {
    #[app_state(rename = "../steps")]
    steps: u64,
}

fn main() {}
