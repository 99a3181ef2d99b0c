//! How Kafka's coordinators write their records: the fields of each key and value, as tables.
//!
//! The names are those of Kafka's message definitions, which its JSON converters print. A version
//! that is flexible has compact lengths and tagged fields; `since` and `only` say which versions
//! have a field. Kinds that only newer brokers write are missing, and are shown undecoded.
//!
//! Read by `decode`.

/// One kind of record.
#[derive(Debug)]
pub(super) struct Schema {
    /// The number that its key begins with.
    pub(super) version: i16,
    pub(super) name: &'static str,
    pub(super) key: &'static [Field],
    pub(super) value: &'static [Field],
    /// From which version of the value on it is flexible.
    pub(super) flexible: i16,
    /// The newest version of the value that is known.
    pub(super) newest: i16,
}

/// One field.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) since: i16,
    pub(super) until: i16,
    pub(super) tag: Option<u32>,
}

/// What a field is written as.
#[derive(Debug)]
pub(super) enum Kind {
    I8,
    I16,
    I32,
    I64,
    /// Null too.
    Text,
    Bytes,
    Uuid,
    Numbers,
    Texts,
    /// Null too.
    List(&'static [Field]),
    /// One struct, or null.
    Maybe(&'static [Field]),
}

use Kind::{Bytes, I8, I16, I32, I64, List, Maybe, Numbers, Text, Texts, Uuid};

const fn of(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, since: 0, until: i16::MAX, tag: None }
}

const fn since(since: i16, name: &'static str, kind: Kind) -> Field {
    Field { name, kind, since, until: i16::MAX, tag: None }
}

const fn only(version: i16, name: &'static str, kind: Kind) -> Field {
    Field { name, kind, since: version, until: version, tag: None }
}

const fn tagged(tag: u32, name: &'static str, kind: Kind) -> Field {
    Field { name, kind, since: 0, until: i16::MAX, tag: Some(tag) }
}

const fn schema(
    version: i16,
    name: &'static str,
    key: &'static [Field],
    value: &'static [Field],
) -> Schema {
    Schema { version, name, key, value, flexible: 0, newest: 0 }
}

const COMMIT_KEY: &[Field] = &[of("group", Text), of("topic", Text), of("partition", I32)];
const COMMIT: &[Field] = &[
    of("offset", I64),
    since(3, "leaderEpoch", I32),
    of("metadata", Text),
    of("commitTimestamp", I64),
    only(1, "expireTimestamp", I64),
    tagged(0, "topicId", Uuid),
];
const CLASSIC: &[Field] = &[
    of("protocolType", Text),
    of("generation", I32),
    of("protocol", Text),
    of("leader", Text),
    since(2, "currentStateTimestamp", I64),
    of("members", List(CLASSIC_MEMBER)),
];
const CLASSIC_MEMBER: &[Field] = &[
    of("memberId", Text),
    since(3, "groupInstanceId", Text),
    of("clientId", Text),
    of("clientHost", Text),
    since(1, "rebalanceTimeout", I32),
    of("sessionTimeout", I32),
    of("subscription", Bytes),
    of("assignment", Bytes),
];

const GROUP: &[Field] = &[of("groupId", Text)];
const MEMBER: &[Field] = &[of("groupId", Text), of("memberId", Text)];
const EXPRESSION: &[Field] = &[of("groupId", Text), of("regularExpression", Text)];
const EPOCH: &[Field] = &[of("epoch", I32), tagged(0, "metadataHash", I64)];
const SHARE_EPOCH: &[Field] = &[of("epoch", I32), of("metadataHash", I64)];
const ASSIGNMENT_EPOCH: &[Field] = &[of("assignmentEpoch", I32)];
const PLACES: &[Field] = &[of("topicId", Uuid), of("partitions", Numbers)];
const TARGET: &[Field] = &[of("topicPartitions", List(PLACES))];
const NAMED_PLACES: &[Field] =
    &[of("topicId", Uuid), of("topicName", Text), of("partitions", Numbers)];
const NAMED: &[Field] = &[of("topicId", Uuid), of("topicName", Text)];
const RACKS: &[Field] = &[of("partition", I32), of("racks", Texts)];
const TOPIC_METADATA: &[Field] = &[
    of("topicId", Uuid),
    of("topicName", Text),
    of("numPartitions", I32),
    of("partitionMetadata", List(RACKS)),
];
const PARTITION_METADATA: &[Field] = &[of("topics", List(TOPIC_METADATA))];
const PROTOCOL: &[Field] = &[of("name", Text), of("metadata", Bytes)];
const CLASSIC_METADATA: &[Field] =
    &[of("sessionTimeoutMs", I32), of("supportedProtocols", List(PROTOCOL))];
const CONSUMER_MEMBER: &[Field] = &[
    of("instanceId", Text),
    of("rackId", Text),
    of("clientId", Text),
    of("clientHost", Text),
    of("subscribedTopicNames", Texts),
    of("subscribedTopicRegex", Text),
    of("rebalanceTimeoutMs", I32),
    of("serverAssignor", Text),
    tagged(0, "classicMemberMetadata", Maybe(CLASSIC_METADATA)),
];
const CONSUMER_ASSIGNMENT: &[Field] = &[
    of("memberEpoch", I32),
    of("previousMemberEpoch", I32),
    of("state", I8),
    of("assignedPartitions", List(PLACES)),
    of("partitionsPendingRevocation", List(PLACES)),
];
const MATCHED: &[Field] = &[of("topics", Texts), of("version", I64), of("timestamp", I64)];
const SHARE_MEMBER: &[Field] = &[
    of("rackId", Text),
    of("clientId", Text),
    of("clientHost", Text),
    of("subscribedTopicNames", Texts),
];
const SHARE_ASSIGNMENT: &[Field] = &[
    of("memberEpoch", I32),
    of("previousMemberEpoch", I32),
    of("state", I8),
    of("assignedPartitions", List(PLACES)),
];
const SHARE_METADATA: &[Field] = &[
    of("initializingTopics", List(NAMED_PLACES)),
    of("initializedTopics", List(NAMED_PLACES)),
    of("deletingTopics", List(NAMED)),
];

/// The records of `__consumer_offsets`.
pub(super) const OFFSETS: &[Schema] = &[
    Schema { flexible: 4, newest: 4, ..schema(0, "OffsetCommitKey", COMMIT_KEY, COMMIT) },
    Schema { flexible: 4, newest: 4, ..schema(1, "OffsetCommitKey", COMMIT_KEY, COMMIT) },
    Schema {
        flexible: 4,
        newest: 3,
        ..schema(2, "GroupMetadataKey", &[of("group", Text)], CLASSIC)
    },
    schema(3, "ConsumerGroupMetadataKey", GROUP, EPOCH),
    schema(4, "ConsumerGroupPartitionMetadataKey", GROUP, PARTITION_METADATA),
    schema(5, "ConsumerGroupMemberMetadataKey", MEMBER, CONSUMER_MEMBER),
    schema(6, "ConsumerGroupTargetAssignmentMetadataKey", GROUP, ASSIGNMENT_EPOCH),
    schema(7, "ConsumerGroupTargetAssignmentMemberKey", MEMBER, TARGET),
    schema(8, "ConsumerGroupCurrentMemberAssignmentKey", MEMBER, CONSUMER_ASSIGNMENT),
    schema(10, "ShareGroupMemberMetadataKey", MEMBER, SHARE_MEMBER),
    schema(11, "ShareGroupMetadataKey", GROUP, SHARE_EPOCH),
    schema(12, "ShareGroupTargetAssignmentMetadataKey", GROUP, ASSIGNMENT_EPOCH),
    schema(13, "ShareGroupTargetAssignmentMemberKey", MEMBER, TARGET),
    schema(14, "ShareGroupCurrentMemberAssignmentKey", MEMBER, SHARE_ASSIGNMENT),
    schema(15, "ShareGroupStatePartitionMetadataKey", GROUP, SHARE_METADATA),
    schema(16, "ConsumerGroupRegularExpressionKey", EXPRESSION, MATCHED),
];

const TOUCHED: &[Field] = &[of("topic", Text), of("partitionIds", Numbers)];
const TRANSACTION: &[Field] = &[
    of("producerId", I64),
    of("producerEpoch", I16),
    of("transactionTimeoutMs", I32),
    of("transactionStatus", I8),
    of("transactionPartitions", List(TOUCHED)),
    of("transactionLastUpdateTimestampMs", I64),
    of("transactionStartTimestampMs", I64),
    tagged(0, "previousProducerId", I64),
    tagged(1, "nextProducerId", I64),
    tagged(2, "clientTransactionVersion", I16),
];

/// The records of `__transaction_state`.
pub(super) const TRANSACTIONS: &[Schema] = &[Schema {
    flexible: 1,
    newest: 1,
    ..schema(0, "TransactionLogKey", &[of("transactionalId", Text)], TRANSACTION)
}];

const SHARE_KEY: &[Field] = &[of("groupId", Text), of("topicId", Uuid), of("partition", I32)];
const STATE_BATCH: &[Field] = &[
    of("firstOffset", I64),
    of("lastOffset", I64),
    of("deliveryState", I8),
    of("deliveryCount", I16),
];
const SNAPSHOT: &[Field] = &[
    of("snapshotEpoch", I32),
    of("stateEpoch", I32),
    of("leaderEpoch", I32),
    of("startOffset", I64),
    of("createTimestamp", I64),
    of("writeTimestamp", I64),
    of("stateBatches", List(STATE_BATCH)),
];
const UPDATE: &[Field] = &[
    of("snapshotEpoch", I32),
    of("leaderEpoch", I32),
    of("startOffset", I64),
    of("stateBatches", List(STATE_BATCH)),
];

/// The records of `__share_group_state`.
pub(super) const SHARES: &[Schema] = &[
    schema(0, "ShareSnapshotKey", SHARE_KEY, SNAPSHOT),
    schema(1, "ShareUpdateKey", SHARE_KEY, UPDATE),
];
