//! The program as a user meets it. Terminals, signals and files of Unix are part of it.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod bad_input;
mod bands;
mod bench;
mod cards;
mod classes;
mod commands;
mod common;
mod data;
#[cfg(feature = "tch")]
mod distributed;
mod finetune;
mod first_hour;
mod full_disk;
mod health;
#[cfg(feature = "hub")]
mod hub;
mod interop;
mod launch;
#[cfg(feature = "tch")]
mod operations;
mod pictures;
mod precision;
mod pty;
mod report;
mod results;
mod resume;
mod screen;
mod selftest;
mod terminal;
mod vocabulary;
