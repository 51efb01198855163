//! The record that `check --connect` sends: marked as a test in every member that a person or a rule may look at, in the
//! sink's own format, outside of every journal.

use uuid::Uuid;

use super::{DeliveryConfig, batch::Selection};
use crate::{
    ledger::{KeyScheme, chain},
    record::{Draft, Kind, OperatorAction},
    sink::{Message, Sink},
    slice::Slice,
    time::ReceivedAt,
};

/// No journal has this id but with a chance of one in 4 billion, and none has a seq 0.
const JOURNAL: &str = "00000000";

/// A test record for the sink called `name`: kind `operator`, action `check`, seq 0, a key of its own each time.
pub fn probe(node: &str, name: &str, config: &DeliveryConfig, sink: &impl Sink) -> serde_json::Result<Message> {
    let action = OperatorAction {
        action: "check".to_owned(),
        subject: Some(name.to_owned()),
        detail: Some("TEST: sent by `refresh-audit check --connect`; no event happened".to_owned()),
    };
    let mut draft = Draft::new(JOURNAL, node, 0, Kind::Operator, ReceivedAt::wall());
    draft.operator = Some(&action);
    let mut line = serde_json::to_vec(&draft)?;
    chain::seal_line(&mut line, 0, &chain::GENESIS);
    line.pop();
    let selection = Selection::of_sink(config, sink, KeyScheme::EventId);
    selection.message_as(&Slice::from(line), format!("check-{}", Uuid::new_v4()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_record_that_says_it_is_a_test() {
        let sink = crate::sink::stdout::Stdout::to(Vec::new());
        let test = || probe("n", "siem", &DeliveryConfig::default(), &sink).unwrap();
        let (one, two) = (test(), test());
        assert_ne!(one.key, two.key, "a side that dedupes would not show whether it can write");
        let record = one.record().unwrap();
        assert_eq!((record.seq, record.kind, &*record.journal), (0, Kind::Operator, "00000000"));
        let operator = record.operator.unwrap();
        assert_eq!((&*operator.action, operator.subject.as_deref()), ("check", Some("siem")));
        assert!(operator.detail.unwrap().starts_with("TEST"));
        let mut line = one.line.to_vec();
        line.push(b'\n');
        assert!(chain::check_line(&line).is_some());
    }
}
