//! app

/// Stand-in.
pub fn run(_config: crate::config::Config, _made: crate::keys::Made) -> anyhow::Result<()> {
    anyhow::bail!("not in this build")
}
