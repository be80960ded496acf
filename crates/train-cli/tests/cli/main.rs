//! The program as a user meets it.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod bad_input;
mod commands;
mod common;
mod finetune;
mod interop;
mod resume;
