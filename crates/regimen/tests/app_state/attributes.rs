//! Attributes and types the derive does not know.

use regimen::saved::AppState;

#[derive(AppState)]
struct Misspelt {
    #[app_state(skipp)]
    steps: u64,
}

#[derive(AppState)]
struct Both {
    #[app_state(skip, rename = "steps")]
    steps: u64,
}

#[derive(AppState)]
struct Wrapped {
    #[app_state(skip, with = Wrapper)]
    steps: u64,
}

#[derive(AppState)]
struct Nothing {
    #[app_state(skip, nested)]
    steps: u64,
}

#[derive(AppState)]
struct Twice {
    #[app_state(nested, with = Wrapper)]
    steps: u64,
}

#[derive(AppState)]
enum Either {
    One(u64),
}

fn main() {}
