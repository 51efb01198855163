//! A mail server.

use std::{path::Path, sync::Mutex};

use refresh_audit::{
    record::Seq,
    sink::{AnySink, SinkConfig},
};

use super::{POISON, Receiver, Situation, vendors::told_seqs};
use crate::fake_smtp::{Answer, FakeSmtp};

pub struct MailReceiver {
    server: FakeSmtp,
    situation: Mutex<Option<Situation>>,
}

impl MailReceiver {
    pub fn new() -> Self {
        Self { server: FakeSmtp::new(None), situation: Mutex::new(None) }
    }
}

impl Receiver for MailReceiver {
    fn sink(&self) -> AnySink {
        let members = format!(
            "server = '{}'\ntls = 'none'\nfrom = 'audit@example.invalid'\nto = 'soc@example.invalid'\n\
             messages_per_hour = 100000\ntimeout = '300ms'",
            self.server.address
        );
        let config = SinkConfig::parse("smtp", toml::Deserializer::parse(&members).unwrap()).unwrap();
        config.build(Path::new("/")).unwrap()
    }

    async fn begin(&self, situation: Situation) -> bool {
        *self.situation.lock().unwrap() = Some(situation);
        let at = |command: &'static str, answer: Answer| {
            self.server.script(move |given, _| if given.starts_with(command) { answer } else { Answer::Usual });
        };
        match situation {
            Situation::Accepts | Situation::WeCrash | Situation::Down => {}
            Situation::Throttles => at("MAIL", Answer::Say("450 4.7.1 too many mails")),
            Situation::Poison => self.server.script(|command, text| {
                let poisoned = command == "." && told_seqs(text).contains(&POISON);
                if poisoned { Answer::Say("554 5.6.0 content refused") } else { Answer::Usual }
            }),
            Situation::Hangs => at("DATA", Answer::Hang),
            Situation::Drips => at("EHLO", Answer::Drip),
            Situation::BreaksOff => at(".", Answer::Close),
            Situation::Full => at("MAIL", Answer::Say("452 4.3.1 insufficient system storage")),
            Situation::Fails => at("EHLO", Answer::Say("554 5.3.2 not now")),
        }
        if situation != Situation::Down {
            self.server.up();
        }
        true
    }

    async fn end(&self) {
        if *self.situation.lock().unwrap() == Some(Situation::Poison) {
            return;
        }
        self.server.script(|_, _| Answer::Usual);
        self.server.down().await;
        self.server.up();
    }

    async fn arrived(&self) -> Vec<Seq> {
        self.server.taken().iter().flat_map(|mail| told_seqs(&mail.text)).collect()
    }

    fn refusal(&self) -> &'static str {
        "554"
    }

    fn config(&self) -> &'static str {
        "kinds = ['event']"
    }
}
