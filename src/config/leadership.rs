//! Who leads a partition: who numbers its epochs, and who may append to it.
//!
//! A word of the host's, kept durably beside the partition. Enforced by the log's writer.

/// Who leads a partition.
///
/// ```
/// use tidelog::{Leadership, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.create_topic("orders", TopicConfig::new())?;
/// let partition = store.partition("orders", 0)?;
/// assert_eq!(partition.leadership()?, Leadership::SelfLed);
/// partition.set_leadership(Leadership::HostLed)?;
/// assert_eq!(partition.leadership()?, Leadership::HostLed);
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Leadership {
    /// The store itself: it draws a leader epoch at each open, takes what producers send, and its
    /// high watermark is its end. The default.
    #[default]
    SelfLed,
    /// The host, which replicates the partition: every leader epoch comes from it, producers are
    /// refused unless it has made this replica the leader, and the high watermark is where it was
    /// set.
    HostLed,
}
