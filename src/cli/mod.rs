//! The commands: one file each. Owns arguments, what is printed, and exit codes; the work is done elsewhere.
//!
//! Exit codes: 0 done, 1 found a problem or failed, 2 usage, 78 configuration.

use std::{
    borrow::Cow,
    env,
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use crate::{
    app::StartError,
    config::{Config, ConfigError},
};

mod admin;
mod applications;
mod backtest;
mod check;
mod explain;
mod gate;
mod incidents;
mod keygen;
mod records;
mod rules;
mod scan;
mod schema;
mod send;
mod serve;
mod sign;
mod sinks;
mod table;
mod verify;

/// `EX_CONFIG` of sysexits.h.
const EXIT_CONFIG: u8 = 78;
/// A problem was found, or something failed.
const EXIT_PROBLEM: u8 = 1;
/// What was asked for makes no sense; the arguments' parser exits with it, too.
const EXIT_USAGE: u8 = 2;

#[derive(Parser)]
#[command(version, about, after_help = EXAMPLES)]
struct Arguments {
    /// The configuration; without it what REFRESH_AUDIT_CONFIG names, else ./config.toml, else the embedded default
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Names the configuration where no argument does; an empty one is as good as none.
const CONFIG_VARIABLE: &str = "REFRESH_AUDIT_CONFIG";

const EXAMPLES: &str = "\
Examples:
  refresh-audit                              run it on ./config.toml, or on the embedded default
  refresh-audit check --connect              try every sink and key source before a start
  refresh-audit send --example               post an event, signed as FusionAuth signs it
  refresh-audit records --since 2h --format table
  refresh-audit verify                       check the journal's chain and its signed checkpoints

Exit codes: 0 done, 1 found a problem or failed, 2 usage, 78 configuration";

#[derive(Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Check(check::Arguments),
    Keygen(keygen::Arguments),
    Send(send::Arguments),
    Records(records::Arguments),
    Verify(verify::Arguments),
    Sinks(sinks::Arguments),
    Incidents(incidents::Arguments),
    Applications(applications::Arguments),
    Explain(explain::Arguments),
    Gate(gate::Arguments),
    Rules(rules::Arguments),
    Backtest(backtest::Arguments),
    Schema(schema::Arguments),
}

/// Reads the arguments; ends the program where they make no sense.
fn arguments() -> Arguments {
    let mut command = Arguments::command();
    command.build();
    let matches = with_usage(command).get_matches();
    Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// The usage that is shown beside an error is the one of the help. Clap's own shows whatever was given as if all of it were
/// needed, and what is positional in another order than it is read.
fn with_usage(mut command: clap::Command) -> clap::Command {
    let usage = command.render_usage().to_string();
    command = command.override_usage(usage.trim_start_matches("Usage: ").to_owned());
    command.mut_subcommands(with_usage)
}

/// Reads the arguments, runs the command and says how it ended.
pub fn main() -> ExitCode {
    let Arguments { config, command } = arguments();
    let config = config.or_else(|| env::var_os(CONFIG_VARIABLE).filter(|file| !file.is_empty()).map(PathBuf::from));
    let config = config.as_deref();
    // Who judges by the rules loads what is tested. Others read on, or stop the gate, whatever a rule's example says.
    let (tested, load) = (|| Config::load(config), || Config::load_untested(config));
    let done = match command {
        None => serve::run(&serve::Arguments {}, config, tested),
        Some(Command::Serve(given)) => serve::run(&given, config, tested),
        Some(Command::Check(given)) => check::run(&given, tested),
        Some(Command::Keygen(given)) => keygen::run(&given, load),
        Some(Command::Send(given)) => send::run(&given, load),
        Some(Command::Records(given)) => records::run(&given, load),
        Some(Command::Verify(given)) => verify::run(&given, load),
        Some(Command::Sinks(given)) => sinks::run(&given, load),
        Some(Command::Incidents(given)) => incidents::run(&given, load),
        Some(Command::Applications(given)) => applications::run(&given, load),
        Some(Command::Explain(given)) => explain::run(&given, load),
        Some(Command::Gate(given)) => gate::run(&given, load),
        // Shows each that fails.
        Some(Command::Rules(given)) => rules::run(&given, load),
        Some(Command::Backtest(given)) => backtest::run(&given, tested),
        Some(Command::Schema(given)) => schema::run(&given),
    };
    match done {
        Ok(Ended::Well) => ExitCode::SUCCESS,
        Ok(Ended::WithProblem) => ExitCode::from(EXIT_PROBLEM),
        Err(error) if error.is::<OutputClosed>() => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("refresh-audit: {error:#}"));
            ExitCode::from(match () {
                () if is_configuration(&error) => EXIT_CONFIG,
                () if error.is::<Usage>() => EXIT_USAGE,
                () => EXIT_PROBLEM,
            })
        }
    }
}

/// An argument names what the configuration does not have.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

impl Usage {
    /// Of what has another name.
    fn unknown<'n>(what: &str, asked: &str, names: impl Iterator<Item = &'n str>) -> Self {
        Self(format!("there is no {what} `{asked}`; configured: {}", names.collect::<Vec<_>>().join(", ")))
    }
}

fn is_configuration(error: &anyhow::Error) -> bool {
    error.is::<ConfigError>() || matches!(error.downcast_ref(), Some(StartError::Config(_)))
}

/// How a command ended that could do its work.
enum Ended {
    /// Nothing to complain of.
    Well,
    /// It found something wrong, and said so.
    WithProblem,
}

impl Ended {
    fn well_if(well: bool) -> Self {
        if well { Self::Well } else { Self::WithProblem }
    }
}

/// How to print.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Whoever read our output has seen enough (`| head`): not a failure.
#[derive(Debug, thiserror::Error)]
#[error("the standard output is closed")]
struct OutputClosed;

/// Writes a line to the standard output; to a terminal without what it would act on.
fn print(line: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let line = if out.is_terminal() { inert(line) } else { line.into() };
    let written = out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => OutputClosed.into(),
        _ => anyhow::Error::new(error).context("cannot write to the standard output"),
    })
}

/// Writes a line to the standard error. Whether anybody reads it changes nothing.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Runs what must wait for the network, on one thread.
fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

/// A bar for long work; hidden unless the standard error is a terminal. `total` 0 = not known.
fn progress_bar(total: u64) -> indicatif::ProgressBar {
    let bar = if total == 0 { indicatif::ProgressBar::new_spinner() } else { indicatif::ProgressBar::new(total) };
    let form =
        if total == 0 { "{spinner} {human_pos} ({elapsed})" } else { "{wide_bar} {human_pos}/{human_len} {eta}" };
    match indicatif::ProgressStyle::with_template(form) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// What may be printed to a terminal of a text that others wrote: no control characters, no other end of a line, and
/// nothing that turns around the order in which the rest is read (Unicode's Bidi_Control).
fn printable(text: &str) -> String {
    text.chars().map(|c| if is_shown(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

fn is_shown(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !turns
}

/// The same of whole lines, by escapes: JSON stays what it was.
fn inert(lines: &str) -> Cow<'_, str> {
    let stays = |c: char| c == '\n' || is_shown(c);
    if lines.chars().all(stays) {
        return lines.into();
    }
    let escaped = |c: char| if stays(c) { c.to_string() } else { format!("\\u{:04x}", u32::from(c)) };
    lines.chars().map(escaped).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_printed_moves_what_stands_beside_it() {
        // Every character of Bidi_Control (Unicode 16, PropList.txt), both separators, a control character.
        for marks in [
            "\u{61c}\u{200e}\u{200f}",
            "\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}",
            "\u{2028}\u{2029}\u{1b}\u{9b}",
            "\u{2066}\u{2067}\u{2068}\u{2069}",
        ] {
            assert_eq!(printable(marks), "\u{fffd}".repeat(marks.chars().count()), "{marks:?}");
        }
        assert_eq!(printable("a\u{202e}b é\u{a0}\u{5d0}\u{1f600}"), "a\u{fffd}b é\u{a0}\u{5d0}\u{1f600}");
    }

    #[test]
    fn json_on_a_terminal_is_the_same_json_and_moves_nothing() {
        // A control sequence that begins with one character of C1 (ECMA-48, 5.4), DEL, and text turned around.
        let value = serde_json::json!({ "user_agent": "\u{9b}31m\u{7f}\u{202e}gpj é" });
        let (line, pretty) = (value.to_string(), serde_json::to_string_pretty(&value).unwrap());
        assert_eq!(inert(&line), r#"{"user_agent":"\u009b31m\u007f\u202egpj é"}"#);
        for json in [inert(&line), inert(&pretty)] {
            assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), value);
        }
    }

    #[test]
    fn arguments_do_not_contradict_each_other_and_help_has_examples() {
        let mut command = Arguments::command();
        command.clone().debug_assert();
        assert!(command.render_long_help().to_string().contains("Examples:"));
        for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help") {
            assert!(sub.render_long_help().to_string().contains("Examples:"), "{}", sub.get_name());
        }
    }
}
