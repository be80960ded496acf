//! The program as a user meets it.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod bad_input;
mod commands;
mod common;
mod finetune;
#[cfg(feature = "hub")]
mod hub;
mod resume;
