//! The topics that dead letters go to, made when the first one comes.
//!
//! One that was deleted is made again with the next letter. They keep everything until the host
//! says otherwise, and take any record with what is added to it. Called by whoever buries.

use std::sync::Arc;

use crate::config::TopicConfig;
use crate::engine::{Engine, NewTopic, Topic};
use crate::error::{Cause, Error, ErrorKind, Result};

/// The topic of that name; it is made if there is none.
pub(crate) fn dead_letter_topic(engine: &Engine, name: &str) -> Result<Arc<Topic>> {
    let topic = match engine.topic(name) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // as large as any record, with its headers
            let config = TopicConfig::new().max_batch_bytes(128 << 20);
            match engine.create_topics(&[NewTopic { name, config, internal: false }]) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => engine.topic(name)?,
            }
        }
        found => found?,
    };
    if topic.is_internal() {
        let text = format!("`{name}` is internal: dead letters do not go there");
        return Err(Error::new("find dead-letter topic", Cause::InvalidArgument(text)));
    }
    Ok(topic)
}

/// Whether an error says that a topic never takes a record, whoever else is served.
pub(crate) fn is_of_records(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::InvalidRecord | ErrorKind::TooLarge | ErrorKind::InvalidArgument)
}
