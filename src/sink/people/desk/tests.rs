//! What is told, in which order, as time goes by.

use super::*;
use crate::{
    record::{Kept, Kind},
    sink::people::cap::PERIOD,
};

fn alarm(seq: u64, at: ReceivedAt, state: &str) -> Message {
    let line = format!(
        r#"{{"schema":"refresh-audit/1","journal":"3f9a1c2e","node":"n","seq":{seq},"kind":"alarm","received_at":"{at}","alarm":{{"name":"disk_low","state":"{state}","message":"m"}},"prev":"0","hash":"0"}}"#
    );
    Message {
        seq,
        kind: Kind::Alarm,
        key: format!("k{seq}"),
        head: Kept::default(),
        body: line.clone().into(),
        line: line.into(),
        media_type: "application/json",
    }
}

struct Heard(Mutex<Vec<Notice>>);

impl Heard {
    async fn tell(&self, desk: &Desk, batch: &[Message]) -> Result<Ack, SinkError> {
        let say = |notice: &Notice| {
            self.0.lock().unwrap().push(notice.clone());
            async { Ok("ok".to_owned()) }
        };
        desk.tell_each(batch, say).await
    }

    fn take(&self) -> Vec<String> {
        self.0.lock().unwrap().drain(..).map(|notice| notice.headline).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_the_hour_to_end_is_told_in_one() {
    let desk = Desk::new(None, true, NonZeroU32::new(2).unwrap());
    let heard = Heard(Mutex::new(Vec::new()));
    let before = ReceivedAt::wall();
    let batch: Vec<_> = (1..=5).map(|seq| alarm(seq, before, if seq == 4 { "cleared" } else { "raised" })).collect();
    let later = |error: SinkError| match error {
        SinkError::Later { after, again, .. } => (after, again),
        other => panic!("{other}"),
    };
    assert_eq!(later(heard.tell(&desk, &batch).await.unwrap_err()), (PERIOD, vec![3, 4, 5]));
    let batch = &batch[2..];
    assert_eq!(
        heard.take(),
        ["Alarm raised: disk_low", "Alarm raised: disk_low", "More than 2 messages within an hour"]
    );
    // Too early: nothing more is said.
    tokio::time::advance(PERIOD / 2).await;
    assert_eq!(later(heard.tell(&desk, batch).await.unwrap_err()), (PERIOD / 2, vec![3, 4, 5]));
    assert_eq!(heard.take(), Vec::<String>::new());
    tokio::time::advance(PERIOD / 2).await;
    let ack = heard.tell(&desk, batch).await.unwrap();
    let told = heard.0.lock().unwrap().pop().unwrap();
    assert_eq!((&*told.headline, told.seq, told.severity), ("3 more, told in one", 5, Severity::High));
    assert!(
        told.text.starts_with("3 more since ") && told.text.contains("1 of them over; the worst is HIGH"),
        "{told:?}"
    );
    assert_eq!(told.facts.len(), 3);
    // Each record has its acknowledgement: it was delivered, by the summary.
    assert_eq!(ack.records.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [3, 4, 5]);
    // What is new is told alone; what waited but is read later is told together once more.
    let batch = [alarm(6, before, "raised"), alarm(7, before, "raised"), alarm(8, before.plus(PERIOD * 2), "raised")];
    assert!(heard.tell(&desk, &batch).await.is_err(), "2 an hour");
    assert_eq!(heard.take(), ["2 more, told in one", "More than 2 messages within an hour"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_waited_alone_is_told_as_it_is() {
    let desk = Desk::new(None, true, NonZeroU32::MIN);
    let heard = Heard(Mutex::new(Vec::new()));
    let before = ReceivedAt::wall();
    let batch = [alarm(1, before, "raised"), alarm(2, before, "cleared")];
    heard.tell(&desk, &batch).await.unwrap_err();
    heard.take();
    tokio::time::advance(PERIOD).await;
    heard.tell(&desk, &batch[1..]).await.unwrap();
    assert_eq!(heard.take(), ["Alarm cleared: disk_low"]);
}

#[tokio::test(start_paused = true)]
async fn a_mail_over_the_cap_waits_whole() {
    let desk = Desk::new(Some(Link::new("https://a.example.com/i/{id}").unwrap()), true, NonZeroU32::MIN);
    let mails = Mutex::new(Vec::new());
    let say = |notices: &[Notice]| {
        mails.lock().unwrap().push(notices.to_vec());
        async { Ok("250".to_owned()) }
    };
    let batch =
        |seqs: std::ops::Range<u64>| seqs.map(|seq| alarm(seq, ReceivedAt::wall(), "raised")).collect::<Vec<_>>();
    desk.tell_together(&batch(1..4), say).await.unwrap();
    assert!(matches!(desk.tell_together(&batch(4..9), say).await, Err(SinkError::Later { .. })));
    tokio::time::advance(PERIOD).await;
    desk.tell_together(&batch(4..9), say).await.unwrap();
    let mails = mails.into_inner().unwrap();
    assert_eq!(mails.iter().map(Vec::len).collect::<Vec<_>>(), [3, 1, 5]);
    // It names the first that waits.
    assert_eq!((&*mails[1][0].headline, mails[1][0].seq), ("More than 1 messages within an hour", 4));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_has_to_know_is_said_to_be_not_sent() {
    // Without `resolved`: what is over is nobody's news.
    let desk = Desk::new(None, false, NonZeroU32::MAX);
    let heard = Heard(Mutex::new(Vec::new()));
    let at = ReceivedAt::wall();
    let ack = heard.tell(&desk, &[alarm(1, at, "raised"), alarm(2, at, "cleared")]).await.unwrap();
    assert_eq!(heard.take(), ["Alarm raised: disk_low"]);
    let said = |seq: u64| ack.records.iter().find(|(of, _)| *of == seq).map(|(_, text)| text.starts_with("not sent"));
    assert_eq!((said(1), said(2)), (Some(false), Some(true)));
}
