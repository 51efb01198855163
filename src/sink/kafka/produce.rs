//! A batch as requests: each partition's records in order, a chunk at a time; one request a leader and round, all leaders
//! at once. A partition that fails takes no more of the batch.

use std::collections::{BTreeMap, VecDeque};

use futures_util::future::join_all;
use rskafka::protocol::{
    error::Error as Code,
    messages::{ProduceRequest, ProduceRequestPartitionData, ProduceRequestTopicData, ProduceResponse},
    primitives::{Int16, Int32, NullableString, Records, String_},
    record::{
        ControlBatchOrRecords, Record, RecordBatch, RecordBatchCompression, RecordBatchTimestampType, RecordHeader,
    },
};

use super::{
    Ack, Compression, Kafka, Message, SinkError,
    cluster::{Cluster, is_fault},
    key::{key, partition},
};
use crate::record::Seq;

/// Of a chunk before compression: under the brokers' default limit of 1,048,588 for a batch of records, headers counted.
const CHUNK_BYTES_MAX: usize = 900_000;
/// What a record has around its value, keys and headers at their longest: no more than a guess is needed.
const AROUND_LEN: usize = 200;
/// Reasons quoted of partitions that failed.
const REASONS_MAX: usize = 3;

/// Records of one partition that are sent at once.
type Chunk<'a> = Vec<&'a Message>;

/// What became of a batch so far.
#[derive(Default)]
struct Progress {
    taken: Vec<(Seq, String)>,
    refused: Vec<(Seq, String)>,
    again: Vec<Seq>,
    why: Vec<String>,
    fault: bool,
}

impl Kafka {
    pub(super) async fn produce(&self, cluster: &Cluster, batch: &[Message]) -> Result<Ack, SinkError> {
        let mut progress = Progress::default();
        let mut queues = chunks(batch, cluster.leaders.len());
        loop {
            // One chunk of each partition, by leader.
            let mut round: BTreeMap<i32, Vec<(usize, Chunk<'_>)>> = BTreeMap::new();
            for (partition, queue) in queues.iter_mut().enumerate() {
                match cluster.leaders.get(partition).copied().flatten() {
                    Some(leader) => {
                        if let Some(chunk) = queue.pop_front() {
                            round.entry(leader).or_default().push((partition, chunk));
                        }
                    }
                    None => {
                        progress.failed(queue.drain(..).flatten(), || "a partition has no leader".to_owned(), false)
                    }
                }
            }
            if round.is_empty() {
                break;
            }
            let sent = round.into_iter().map(|(leader, chunks)| async move {
                let answer = self.send(cluster, leader, &chunks).await;
                (chunks, answer)
            });
            for (chunks, answer) in join_all(sent).await {
                for (partition, chunk) in chunks {
                    if let Some(queue) = queues.get_mut(partition) {
                        self.settle(partition, chunk, &answer, queue, &mut progress);
                    }
                }
            }
        }
        progress.result()
    }

    async fn send(
        &self,
        cluster: &Cluster,
        leader: i32,
        chunks: &[(usize, Chunk<'_>)],
    ) -> Result<ProduceResponse, SinkError> {
        let broker = cluster.brokers.get(&leader).ok_or_else(|| SinkError::passing(format!("no broker {leader}")))?;
        let partitions = chunks.iter().map(|(partition, chunk)| ProduceRequestPartitionData {
            index: Int32(i32::try_from(*partition).unwrap_or(i32::MAX)),
            records: Records(vec![self.records(chunk)]),
        });
        let request = ProduceRequest {
            transactional_id: NullableString(None),
            // All in-sync replicas.
            acks: Int16(-1),
            timeout_ms: Int32(self.timeout_ms()),
            topic_data: vec![ProduceRequestTopicData {
                name: String_(self.topic.clone()),
                partition_data: partitions.collect(),
            }],
        };
        // It may say how long it throttled us. It took the records all the same, and holds the next request back itself.
        self.answer("produce", broker.request(request)).await
    }

    fn records(&self, chunk: &Chunk<'_>) -> RecordBatch {
        let first = chunk.first().map_or(0, |message| millis(message));
        let records = chunk.iter().zip(0..).map(|(message, offset_delta)| Record {
            timestamp_delta: millis(message) - first,
            offset_delta,
            key: Some(key(&message.head).as_bytes().to_vec()),
            value: Some(message.body.to_vec()),
            headers: [
                // What the value is, by the Kafka binding of CloudEvents (structured mode), and of any other format.
                ("content-type", message.media_type.as_bytes().to_vec()),
                ("event_id", message.key.as_bytes().to_vec()),
                ("schema", message.head.schema().as_bytes().to_vec()),
                ("seq", message.seq.to_string().into_bytes()),
            ]
            .map(|(key, value)| RecordHeader { key: key.to_owned(), value })
            .into(),
        });
        RecordBatch {
            base_offset: 0,
            partition_leader_epoch: -1,
            last_offset_delta: i32::try_from(chunk.len()).unwrap_or(i32::MAX) - 1,
            first_timestamp: first,
            max_timestamp: chunk.iter().map(|message| millis(message)).max().unwrap_or(first),
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            records: ControlBatchOrRecords::Records(records.collect()),
            compression: match self.compression {
                Compression::Zstd => RecordBatchCompression::Zstd,
                Compression::None => RecordBatchCompression::NoCompression,
            },
            is_transactional: false,
            timestamp_type: RecordBatchTimestampType::CreateTime,
        }
    }

    /// What the answer means for one partition's chunk.
    fn settle<'a>(
        &self,
        partition: usize,
        mut chunk: Chunk<'a>,
        answer: &Result<ProduceResponse, SinkError>,
        queue: &mut VecDeque<Chunk<'a>>,
        progress: &mut Progress,
    ) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                return progress.failed(
                    chunk.into_iter().chain(queue.drain(..).flatten()),
                    || error.to_string(),
                    false,
                );
            }
        };
        let partitions = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
        let mut mine = partitions.filter(|response| usize::try_from(response.index.0) == Ok(partition));
        match mine.next().map(|response| (response.error, response.base_offset.0)) {
            Some((None, base)) => {
                let places = chunk.iter().zip(base..).map(|(message, at)| (message.seq, format!("{partition}@{at}")));
                progress.taken.extend(places);
            }
            Some((Some(code), _)) if is_about_records(code) => {
                if chunk.len() > 1 {
                    // The culprit is in one of the halves.
                    let second = chunk.split_off(chunk.len() / 2);
                    queue.push_front(second);
                    queue.push_front(chunk);
                } else {
                    progress.refused.extend(chunk.iter().map(|message| (message.seq, code.to_string())));
                }
            }
            Some((Some(code), _)) => {
                let why = || format!("{} partition {partition}: {code}", self.topic);
                progress.failed(chunk.into_iter().chain(queue.drain(..).flatten()), why, is_fault(code));
            }
            None => {
                let why = || "the broker's answer leaves a partition out".to_owned();
                progress.failed(chunk.into_iter().chain(queue.drain(..).flatten()), why, false);
            }
        }
    }
}

/// An error that a record in the batch is to blame for.
fn is_about_records(code: Code) -> bool {
    matches!(code, Code::MessageTooLarge | Code::RecordListTooLarge | Code::InvalidRecord | Code::InvalidTimestamp)
}

/// When it was admitted, in milliseconds since 1970.
fn millis(message: &Message) -> i64 {
    message.head.received_at().micros() / 1_000
}

/// Each partition's records in order, in chunks.
fn chunks(batch: &[Message], partitions: usize) -> Vec<VecDeque<Chunk<'_>>> {
    let mut queues: Vec<VecDeque<Chunk<'_>>> = (0..partitions).map(|_| VecDeque::new()).collect();
    let mut sizes = vec![0; partitions];
    for message in batch {
        let key = key(&message.head).as_bytes();
        let at = partition(key, partitions);
        let (Some(queue), Some(size)) = (queues.get_mut(at), sizes.get_mut(at)) else { continue };
        let len = message.body.len() + key.len() + message.key.len() + AROUND_LEN;
        if queue.is_empty() || *size + len > CHUNK_BYTES_MAX {
            queue.push_back(Chunk::new());
            *size = 0;
        }
        *size += len;
        if let Some(chunk) = queue.back_mut() {
            chunk.push(message);
        }
    }
    queues
}

impl Progress {
    fn failed<'a>(&mut self, messages: impl Iterator<Item = &'a Message>, why: impl Fn() -> String, fault: bool) {
        let before = self.again.len();
        self.again.extend(messages.map(|message| message.seq));
        if self.again.len() == before {
            return;
        }
        self.fault |= fault;
        let why = why();
        if self.why.len() < REASONS_MAX && !self.why.contains(&why) {
            self.why.push(why);
        }
    }

    fn result(self) -> Result<Ack, SinkError> {
        let Self { taken, refused, again, why, fault } = self;
        let (reason, ack) = (why.join("; "), Ack { text: "acks=all".to_owned(), records: taken });
        match (again.is_empty(), refused.is_empty()) {
            (true, true) => Ok(ack),
            (true, false) => Err(SinkError::Reject { refused, ack }),
            (false, _) if ack.records.is_empty() && refused.is_empty() => {
                Err(SinkError::Retry { reason, after: None, fault })
            }
            (false, _) => Err(SinkError::Partly { again, refused, ack, reason, after: None, fault }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        record::{Kept, Kind},
        sink::kafka::Config,
    };

    #[test]
    fn a_record_says_what_it_is() {
        let config: Config = toml::from_str("brokers = ['127.0.0.1:9092']\ntopic = 't'").unwrap();
        let message = Message {
            seq: 7,
            kind: Kind::Event,
            key: "k".to_owned(),
            head: Kept::default(),
            line: "{}".into(),
            body: "{}".into(),
            media_type: "application/cloudevents+json",
        };
        let ControlBatchOrRecords::Records(records) =
            config.build(Path::new("/")).unwrap().records(&vec![&message]).records
        else {
            panic!("no records")
        };
        let headers = records.iter().flat_map(|record| &record.headers);
        let headers: Vec<_> = headers.map(|header| (&*header.key, str::from_utf8(&header.value).unwrap())).collect();
        // Kafka Protocol Binding for CloudEvents 1.0, section 3.3: `content-type` says that the value is a whole event.
        let expected =
            [("content-type", "application/cloudevents+json"), ("event_id", "k"), ("schema", ""), ("seq", "7")];
        assert_eq!(headers, expected);
    }
}
