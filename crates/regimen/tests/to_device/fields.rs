//! A field that cannot be moved.

use regimen::BoxError;
use regimen::engine::ToDevice;

struct Device;

struct Tensor;

impl ToDevice<Device> for Tensor {
    fn move_to(self, _: &Device) -> Result<Self, BoxError> {
        Ok(self)
    }
}

/// Of another library.
struct Picture;

#[derive(ToDevice)]
struct Batch {
    tensor: Tensor,
    picture: Picture,
}

fn main() {
    move_any(Batch { tensor: Tensor, picture: Picture });
}

fn move_any(_: impl ToDevice<Device>) {}
