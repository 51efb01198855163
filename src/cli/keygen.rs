//! `keygen`: makes a key file and says where it is, never what is in it.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Ended, print};
use crate::{
    config::{Config, ConfigError},
    keys,
};

/// Make a key file; an existing one is never overwritten
#[derive(Args)]
#[command(after_help = "\
Examples:
  refresh-audit keygen hmac                               webhook.key in data_dir
  refresh-audit keygen hmac --out webhook-2027.key        a second key, for a rotation
  refresh-audit keygen checkpoint                         checkpoint.key in data_dir, and checkpoint.pub beside it")]
pub(super) struct Arguments {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Subcommand)]
enum Kind {
    /// A secret for signatures (HS256, HS384, HS512) or fingerprints: 43 base64url characters
    #[command(after_help = "\
Examples:
  refresh-audit keygen hmac
  refresh-audit keygen hmac --out webhook-2027.key")]
    Hmac {
        /// The file to make; without it webhook.key in data_dir
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// An Ed25519 key that signs checkpoints, in signed-note form, and its public half beside it (.pub)
    #[command(after_help = "\
Examples:
  refresh-audit keygen checkpoint
  refresh-audit keygen checkpoint --out /etc/refresh-audit/checkpoint.key --name audit-1")]
    Checkpoint {
        /// The file to make; without it checkpoint.key in data_dir
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// The key's name in every checkpoint; without it the configured `node`
        #[arg(long)]
        name: Option<String>,
    },
}

pub(super) fn run(given: &Arguments, load: impl Fn() -> Result<Config, ConfigError>) -> anyhow::Result<Ended> {
    let in_data_dir = |name: &str| load().map(|config| config.data_dir.join(name));
    match &given.kind {
        Kind::Hmac { out } => {
            let out = out.clone().map_or_else(|| in_data_dir("webhook.key"), Ok)?;
            keys::make_hmac(&out)?;
            print(&format!("{}", out.display()))?;
        }
        Kind::Checkpoint { out, name } => {
            let out = out.clone().map_or_else(|| in_data_dir("checkpoint.key"), Ok)?;
            let name = name.clone().map_or_else(|| load().map(|config| config.node), Ok)?;
            let public = keys::make_checkpoint(&out, &name)?;
            print(&format!("{}\n{}", out.display(), public.display()))?;
        }
    }
    Ok(Ended::Well)
}
