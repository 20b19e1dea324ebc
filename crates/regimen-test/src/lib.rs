//! Test doubles for regimen.
