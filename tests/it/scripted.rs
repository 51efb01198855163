//! A sink that does as a test says, and what to ask of the loop around it.

use std::sync::{Arc, Mutex};

use refresh_audit::{
    deliver::{Journal, SinkFiles, Start, Status},
    record::Seq,
    sink::{Ack, Message, Sink, SinkError},
};
use tokio::sync::Semaphore;

use crate::journal::{World, adds_up};

type Script = dyn Fn(&[Message]) -> Result<(), SinkError> + Send + Sync;

/// Small batches, no waiting.
pub const CONFIG: &str = "batch = { records = 4, wait = '0ms' }";

/// A sink that answers as told and remembers what it took.
#[derive(Clone)]
pub struct Scripted {
    script: Arc<Mutex<Box<Script>>>,
    pub calls: Arc<Mutex<Vec<Vec<Seq>>>>,
    pub taken: Arc<Mutex<Vec<Seq>>>,
    /// A call takes one permit before it answers.
    pub gate: Arc<Semaphore>,
}

impl Scripted {
    pub fn new(script: impl Fn(&[Message]) -> Result<(), SinkError> + Send + Sync + 'static) -> Self {
        Self {
            script: Arc::new(Mutex::new(Box::new(script))),
            calls: Arc::default(),
            taken: Arc::default(),
            gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
        }
    }

    pub fn now(&self, script: impl Fn(&[Message]) -> Result<(), SinkError> + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    pub fn taken(&self) -> Vec<Seq> {
        self.taken.lock().unwrap().clone()
    }

    pub fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }
}

impl Sink for Scripted {
    async fn check(&self, _: &Message) -> Result<(), SinkError> {
        Ok(())
    }

    async fn deliver(&self, batch: &[Message]) -> Result<Ack, SinkError> {
        let seqs: Vec<Seq> = batch.iter().map(|message| message.seq).collect();
        self.calls.lock().unwrap().push(seqs.clone());
        self.gate.acquire().await.unwrap().forget();
        let result = (self.script.lock().unwrap())(batch);
        let refused: Vec<Seq> = match &result {
            Ok(()) => Vec::new(),
            Err(SinkError::Reject { refused, .. }) => refused.iter().map(|(seq, _)| *seq).collect(),
            Err(SinkError::Partly { again, refused, .. }) => {
                refused.iter().map(|(seq, _)| *seq).chain(again.iter().copied()).collect()
            }
            Err(_) => return result.map(|()| Ack::none()),
        };
        self.taken.lock().unwrap().extend(seqs.iter().filter(|seq| !refused.contains(seq)));
        result.map(|()| Ack::new(format!("call {}", self.calls())))
    }
}

pub fn accept(_: &[Message]) -> Result<(), SinkError> {
    Ok(())
}

pub fn fail(_: &[Message]) -> Result<(), SinkError> {
    Err(SinkError::passing("not now"))
}

pub fn refuse(seqs: &'static [Seq]) -> impl Fn(&[Message]) -> Result<(), SinkError> {
    move |batch| match batch.iter().find(|message| seqs.contains(&message.seq)) {
        Some(_) => Err(SinkError::Refused { reason: "no".into() }),
        None => Ok(()),
    }
}

pub fn counts(status: &Status) -> [u64; 6] {
    adds_up(status);
    [status.delivered, status.skipped, status.parked, status.dropped, status.damaged, status.pending]
}

pub fn raised(world: &World) -> Vec<String> {
    world.context.alarms.raised().iter().map(|alarm| alarm.name.clone()).collect()
}

pub fn files<'a>(world: &'a World, journal: &'a Journal) -> SinkFiles<'a> {
    SinkFiles { data_dir: world.dir.path(), name: "s", journal, start: Start::Oldest }
}
