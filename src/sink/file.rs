//! File.
use super::*;
/// c
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// p
    pub path: std::path::PathBuf,
}
/// s
pub struct File {}
impl Config { /// b
 pub fn build(&self, _b: &Path) -> Result<File, BuildError> { Ok(File{}) } }
impl Sink for File {
    async fn check(&self) -> Result<(), SinkError> { Ok(()) }
    async fn deliver(&self, _b: &[Message]) -> Result<(), SinkError> { Ok(()) }
}
