//! The guide to this engine: [training on Burn](burn). The guide to the rest is `regimen::guide`.

// The pages are files of the crate, so a packaged crate has them. Their links work twice: on GitHub by
// the definitions at the end of each page, here by those of `links.txt`, which come first and so count.

#[doc = include_str!("../guide/links.txt")]
#[doc = include_str!("../guide/burn.md")]
pub mod burn {}
