//! Attributes and types the derive does not know.

use regimen::engine::ToDevice;

#[derive(ToDevice)]
struct Misspelt {
    #[to_device(skipp)]
    path: String,
}

#[derive(ToDevice)]
struct Bare {
    #[to_device]
    path: String,
}

#[derive(ToDevice)]
union Both {
    one: u64,
    other: i64,
}

fn main() {}
