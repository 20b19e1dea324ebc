//! The guide to this engine: [training on libtorch](libtorch) and [models written in Python](torchscript).
//! The guide to the rest is `regimen::guide`.

// The pages are files of the crate, so a packaged crate has them. Their links work twice: on GitHub by
// the definitions at the end of each page, here by those of `links.txt`, which come first and so count.

#[doc = include_str!("../guide/links.txt")]
#[doc = include_str!("../guide/libtorch.md")]
pub mod libtorch {}

#[doc = include_str!("../guide/links.txt")]
#[doc = include_str!("../guide/torchscript.md")]
pub mod torchscript {}
