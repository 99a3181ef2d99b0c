//! (being written)

/// Who sets a record's timestamp; Kafka's `message.timestamp.type`.
///
/// ```
/// use tidelog::TimestampType;
/// assert_eq!(TimestampType::LogAppendTime.to_string(), "LogAppendTime");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimestampType {
    /// The producer does; a record without a timestamp gets the time of its `send`.
    #[default]
    CreateTime,
    /// The log does, with the time of the append.
    LogAppendTime,
}

impl std::fmt::Display for TimestampType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            TimestampType::CreateTime => "CreateTime",
            TimestampType::LogAppendTime => "LogAppendTime",
        })
    }
}
