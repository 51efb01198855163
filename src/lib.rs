//! `refresh-audit`: a trustworthy record of every token refresh.
//!
//! One way for data to flow:
//!
//! ```text
//! POST /webhooks/{source} -> web -> intake (source, scope, enrich, privacy) -> ledger -> journal on disk -> 2xx
//!                                                                                 journal -> deliver -> sink
//! ```
//!
//! The modules, in reading order. Arrows: `main -> cli -> app -> {web, ledger, deliver}`,
//! `web -> {intake, and for the operator's listener deliver and ledger}`,
//! `intake -> {source, scope, enrich, privacy, ledger's handle}`, `deliver -> {sink, format, scope, the journal's reader}`.
//! Everything may use `build_error`, `event`, `files`, `host`, `record`, `slice`, `time` and `units`; those use nothing of
//! ours but each other. All of it is checked by `tests/tidy.rs`.

pub mod build_error;
pub mod event;
pub mod files;
pub mod host;
pub mod record;
pub mod slice;
pub mod time;
pub mod units;

pub mod secret;
pub mod source;

pub mod enrich;
pub mod intake;
pub mod privacy;
pub mod scope;

pub mod detect;

pub mod ledger;

pub mod deliver;
pub mod format;
pub mod sink;

pub mod web;

pub mod app;
pub mod cli;
pub mod config;
pub mod keys;
pub mod telemetry;
