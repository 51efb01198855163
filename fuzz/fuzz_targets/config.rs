//! Any text as a configuration: an error that names a place, or a configuration; never a panic.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use refresh_audit::config::Config;

fuzz_target!(|text: &str| {
    if let Err(error) = Config::parse(text, "config.toml", Path::new("/"), []) {
        assert!(!error.to_string().is_empty());
    }
});
