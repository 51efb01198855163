//! Http.
use super::*;
/// c
#[derive(Clone, Debug, Deserialize)]
pub struct Config {}
/// s
pub struct Http {}
impl Config { /// b
 pub fn build(&self, _b: &Path) -> Result<Http, BuildError> { Ok(Http{}) } }
impl Sink for Http {
    async fn check(&self) -> Result<(), SinkError> { Ok(()) }
    async fn deliver(&self, _b: &[Message]) -> Result<(), SinkError> { Ok(()) }
}
