//! Engine on Burn.
