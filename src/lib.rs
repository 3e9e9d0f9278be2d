//! ringfence: a log watcher and reactive blocker for phone servers.
//!
//! A log line goes through the stages from left to right: `watch` reads it,
//! `frame` unwraps it, `filter` finds the failure in it, the `engine` judges (with
//! `jail` and `ban`), and `action` tells the kernel. `feed`, `registrar` and `control` are side doors.
//! Imports point one way; `ARCHITECTURE.md` has the picture, and
//! `tests/layers.rs` keeps it true.

pub mod action;
pub mod addr;
pub mod ban;
pub mod cli;
pub mod config;
pub mod control;
pub mod count;
pub mod daemon;
pub mod engine;
pub mod feed;
pub mod filter;
pub mod frame;
pub mod jail;
pub mod registrar;
pub mod ticket;
pub mod time;
pub mod watch;
