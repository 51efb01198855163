//! The topic's partitions and connections to their leaders; asks for them, and creates the topic where that is asked for.

use std::collections::BTreeMap;

use rskafka::{
    messenger::RequestError,
    protocol::{
        error::Error as Code,
        messages::{
            CreateTopicRequest, CreateTopicsRequest, IsolationLevel, ListOffsetsRequest, ListOffsetsRequestPartition,
            ListOffsetsRequestTopic, MetadataRequest, MetadataRequestTopic, MetadataResponse,
        },
        primitives::{Boolean, Int16, Int32, Int64, String_},
    },
};
use tokio::time::timeout;

use super::{
    Acked, Held, Kafka, SinkError,
    broker::{Address, Broker},
};

/// Asks for the first offset that a partition holds, and for the one after its last (KIP-79).
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// Who leads what.
pub(super) struct Cluster {
    /// By partition; `None` has no leader right now.
    pub(super) leaders: Vec<Option<i32>>,
    /// By id: all that lead.
    pub(super) brokers: BTreeMap<i32, Broker>,
}

impl Kafka {
    /// Connects to the first broker that answers, then to every leader.
    pub(super) async fn connect(&self) -> Result<Cluster, SinkError> {
        let mut last = SinkError::passing("no broker");
        for address in &self.brokers {
            match self.cluster_of(address).await {
                Ok(cluster) => return Ok(cluster),
                // A fault is one whatever the next broker says.
                Err(error @ SinkError::Retry { fault: true, .. }) => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn cluster_of(&self, address: &Address) -> Result<Cluster, SinkError> {
        let first = self.connect_to(address).await?;
        let mut metadata = self.metadata(&first).await?;
        let unknown = |metadata: &MetadataResponse| {
            metadata.topics.first().is_none_or(|topic| topic.error == Some(Code::UnknownTopicOrPartition))
        };
        if unknown(&metadata) {
            let Some(partitions) = self.create else {
                let problem = format!("topic {} does not exist: create it, or set create_topic = true", self.topic);
                return Err(SinkError::fault(problem));
            };
            self.create_topic(&metadata, first, partitions).await?;
            // It may take the cluster a moment; then the next attempt sees it.
            metadata = self.metadata(&self.connect_to(address).await?).await?;
        }
        let Some(topic) = metadata.topics.first() else {
            return Err(SinkError::passing("the broker's answer names no topic"));
        };
        match topic.error {
            None => {}
            Some(code @ (Code::UnknownTopicOrPartition | Code::LeaderNotAvailable)) => {
                return Err(SinkError::passing(format!("topic {}: {code}", self.topic)));
            }
            Some(code) => return Err(self.refused("metadata", code)),
        }
        let mut leaders = vec![None; topic.partitions.len()];
        let mut brokers = BTreeMap::new();
        for partition in &topic.partitions {
            let leader = (partition.leader_id.0 >= 0).then_some(partition.leader_id.0);
            let at = usize::try_from(partition.partition_index.0).ok().and_then(|at| leaders.get_mut(at));
            *at.ok_or_else(|| SinkError::passing("the broker's answer leaves partitions out"))? = leader;
            if let Some(leader) = leader.filter(|leader| !brokers.contains_key(leader)) {
                brokers.insert(leader, self.connect_to(&address_of(&metadata, leader)?).await?);
            }
        }
        if leaders.is_empty() {
            return Err(SinkError::passing(format!("topic {} has no partitions", self.topic)));
        }
        Ok(Cluster { leaders, brokers })
    }

    async fn metadata(&self, broker: &Broker) -> Result<MetadataResponse, SinkError> {
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic { name: String_(self.topic.clone()) }]),
            allow_auto_topic_creation: Some(Boolean(false)),
        };
        self.answer("metadata", broker.request(request)).await
    }

    /// At the controller, which alone may.
    async fn create_topic(&self, metadata: &MetadataResponse, first: Broker, partitions: i32) -> Result<(), SinkError> {
        let controller = match metadata.controller_id {
            Some(id) if id.0 >= 0 => self.connect_to(&address_of(metadata, id.0)?).await?,
            _ => first,
        };
        let request = CreateTopicsRequest {
            topics: vec![CreateTopicRequest {
                name: String_(self.topic.clone()),
                num_partitions: Int32(partitions),
                replication_factor: Int16(-1),
                assignments: Vec::new(),
                configs: Vec::new(),
                tagged_fields: None,
            }],
            timeout_ms: Int32(self.timeout_ms()),
            validate_only: None,
            tagged_fields: None,
        };
        let response = self.answer("creating the topic", controller.request(request)).await?;
        match response.topics.first().and_then(|topic| topic.error) {
            None | Some(Code::TopicAlreadyExists) => Ok(()),
            Some(code) => Err(self.refused("creating the topic", code)),
        }
    }

    /// Waits for an answer, no longer than the timeout.
    pub(super) async fn answer<T>(
        &self,
        what: &str,
        request: impl Future<Output = Result<T, RequestError>>,
    ) -> Result<T, SinkError> {
        match timeout(self.timeout.get(), request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(SinkError::passing(format!("{what}: {error}"))),
            Err(_) => Err(SinkError::passing(format!("{what}: no answer in time"))),
        }
    }

    /// An error that the broker answered with: whether it may pass.
    pub(super) fn refused(&self, what: &str, code: Code) -> SinkError {
        let reason = format!("{what}: {}: {code}", self.topic);
        if is_fault(code) { SinkError::fault(reason) } else { SinkError::passing(reason) }
    }

    pub(super) fn timeout_ms(&self) -> i32 {
        i32::try_from(self.timeout.get().as_millis()).unwrap_or(i32::MAX)
    }

    /// By the place in the acknowledgement: a record is there while its offset lies between its partition's first and
    /// last. (A consumer alone can read records that are compressed with zstd, so ids are not compared.)
    pub(super) async fn held(&self, cluster: &Cluster, asked: &[Acked]) -> Result<Held, SinkError> {
        let mut ranges = Vec::new();
        for partition in 0..cluster.leaders.len() {
            let first = self.offset(cluster, partition, EARLIEST).await?;
            ranges.push(first..self.offset(cluster, partition, LATEST).await?);
        }
        let there = |acked: &&Acked| {
            let place = acked.ack.split_once('@');
            let place =
                place.and_then(|(partition, at)| Some((partition.parse::<usize>().ok()?, at.parse::<i64>().ok()?)));
            place.is_some_and(|(partition, at)| ranges.get(partition).is_some_and(|range| range.contains(&at)))
        };
        let missing = asked.iter().filter(|acked| !there(acked)).map(|acked| acked.seq).collect();
        let total = ranges.iter().map(|range| u64::try_from(range.end - range.start).unwrap_or_default()).sum();
        Ok(Held { missing, shared: Vec::new(), total: Some(total) })
    }

    async fn offset(&self, cluster: &Cluster, partition: usize, which: i64) -> Result<i64, SinkError> {
        let leader = cluster.leaders.get(partition).copied().flatten().and_then(|leader| cluster.brokers.get(&leader));
        let leader = leader.ok_or_else(|| SinkError::passing(format!("partition {partition} has no leader")))?;
        let request = ListOffsetsRequest {
            // A normal consumer.
            replica_id: Int32(-1),
            isolation_level: Some(IsolationLevel::ReadUncommitted),
            topics: vec![ListOffsetsRequestTopic {
                name: String_(self.topic.clone()),
                partitions: vec![ListOffsetsRequestPartition {
                    partition_index: Int32(i32::try_from(partition).unwrap_or(i32::MAX)),
                    timestamp: Int64(which),
                    max_num_offsets: None,
                }],
            }],
        };
        let response = self.answer("offsets", leader.request(request)).await?;
        let answer = response.topics.first().and_then(|topic| topic.partitions.first());
        let answer = answer.ok_or_else(|| SinkError::passing("the broker's answer names no partition"))?;
        match (answer.error_code, &answer.offset) {
            (Some(code), _) => Err(self.refused("offsets", code)),
            (None, Some(offset)) => Ok(offset.0),
            (None, None) => Err(SinkError::passing("the broker's answer names no offset")),
        }
    }
}

/// What does not pass before somebody mends it: permissions, names, settings of topic and cluster.
pub(super) fn is_fault(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopicOrPartition
            | Code::InvalidTopicException
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedVersion
            | Code::UnsupportedForMessageFormat
            | Code::UnsupportedCompressionType
            | Code::InvalidPartitions
            | Code::InvalidReplicationFactor
            | Code::InvalidConfig
            | Code::PolicyViolation
            | Code::SecurityDisabled
    )
}

fn address_of(metadata: &MetadataResponse, id: i32) -> Result<Address, SinkError> {
    let broker = metadata.brokers.iter().find(|broker| broker.node_id.0 == id);
    let address = broker.and_then(|broker| Address::new(&broker.host.0, broker.port.0));
    address.ok_or_else(|| SinkError::passing(format!("the broker's answer does not say where broker {id} is")))
}
