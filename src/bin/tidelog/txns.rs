//! `tidelog txns`: the transactions of a store, and ending those that nobody ends.
//!
//! Where each transactional id stands is the state of a coordinator, which lives in the process
//! that has the store open: every command here opens it, which ends what was decided and recovers
//! the rest as any open does. A transaction that no id knows (Kafka calls it hanging) is named by
//! its partition and producer.
//!
//! Called by `main`.

use std::path::{Path, PathBuf};

use serde_json::json;
use tidelog::{Dump, OpenTransaction, ProducerId, Store, Timestamp, TransactionDescription};

use super::failure::Failure;
use super::json::{Object, list, print};
use super::table::{Side, Table, or_dash};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// List the transactional ids, or what is open in partitions
    List {
        /// The store's root
        path: PathBuf,
        /// One JSON object for each
        #[arg(long)]
        json: bool,
        /// Every transaction that is open in a partition, those that no id knows too
        #[arg(long)]
        open: bool,
    },
    /// Show where a transactional id stands, with the partitions of its open transaction
    Describe {
        /// The store's root
        path: PathBuf,
        /// The transactional id
        id: String,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Abort the open transaction of an id, or, by partition and producer, one that no id knows
    Abort {
        /// The store's root
        path: PathBuf,
        /// The transactional id
        #[arg(required_unless_present = "partition", conflicts_with = "partition")]
        id: Option<String>,
        /// The partition it is open in
        #[arg(long, value_name = "TOPIC:N", value_parser = super::groups::place)]
        #[arg(requires = "producer_id")]
        partition: Option<(String, u32)>,
        /// The producer that left it open
        #[arg(long, value_name = "ID", requires = "partition")]
        producer_id: Option<i64>,
    },
}

pub(super) fn run(action: &Action) -> Result<(), Failure> {
    match action {
        Action::List { path, json, open: false } => run_list(path, *json),
        Action::List { path, json, open: true } => run_open(path, *json),
        Action::Describe { path, id, json } => run_describe(path, id, *json),
        Action::Abort { path, id, partition, producer_id } => {
            let store = open(path)?;
            match (id, partition, producer_id) {
                (Some(id), ..) => store.abort_transaction(id)?,
                (None, Some((topic, number)), Some(producer)) => {
                    store
                        .partition(topic, *number)?
                        .abort_transaction(ProducerId::new(*producer))?
                }
                _ => return Err(Failure::Usage("name an id, or --partition".to_owned())),
            }
            store.close()?;
            print(b"aborted\n")
        }
    }
}

fn open(path: &Path) -> Result<Store, Failure> {
    Dump::open(path)?;
    Ok(Store::open(path)?)
}

fn run_list(path: &Path, json: bool) -> Result<(), Failure> {
    let store = open(path)?;
    let columns = [
        ("TRANSACTIONAL ID", Side::Left),
        ("PHASE", Side::Left),
        ("PRODUCER", Side::Right),
        ("EPOCH", Side::Right),
        ("STARTED", Side::Right),
    ];
    let mut table = Table::new(&columns);
    for transaction in store.transactions()? {
        if json {
            print(line(&transaction).as_bytes())?;
            continue;
        }
        let identity = transaction.identity();
        table.row([
            transaction.id().to_owned(),
            transaction.phase().to_string(),
            identity.id().to_string(),
            identity.epoch().to_string(),
            or_dash(transaction.started().map(Timestamp::as_millis)),
        ]);
    }
    store.close()?;
    if json { Ok(()) } else { table.print() }
}

fn line(transaction: &TransactionDescription) -> String {
    let identity = transaction.identity();
    let partitions = list(
        transaction.partitions(),
        |(topic, partition)| json!({ "topic": topic, "partition": partition.get() }),
    );
    Object::new()
        .field("transactionalId", transaction.id())
        .field("phase", transaction.phase().to_string())
        .field("producerId", identity.id().get())
        .field("producerEpoch", identity.epoch().get())
        .field("timeoutMs", u64::try_from(transaction.timeout().as_millis()).unwrap_or(u64::MAX))
        .field("started", transaction.started().map_or(-1, Timestamp::as_millis))
        .field("updated", transaction.updated().as_millis())
        .field("partitions", partitions)
        .line()
}

fn run_describe(path: &Path, id: &str, json: bool) -> Result<(), Failure> {
    let store = open(path)?;
    let transaction = store.describe_transaction(id)?;
    store.close()?;
    if json {
        return print(line(&transaction).as_bytes());
    }
    let identity = transaction.identity();
    let (phase, started) = (transaction.phase(), transaction.started().map(Timestamp::as_millis));
    let mut text = format!(
        "{id}: {phase}, producer {} epoch {}, started {}\n",
        identity.id(),
        identity.epoch(),
        or_dash(started)
    );
    for (topic, partition) in transaction.partitions() {
        text.push_str(&format!("  {topic}-{partition}\n"));
    }
    print(text.as_bytes())
}

fn run_open(path: &Path, json: bool) -> Result<(), Failure> {
    let store = open(path)?;
    let columns = [
        ("TOPIC", Side::Left),
        ("PARTITION", Side::Right),
        ("PRODUCER", Side::Right),
        ("EPOCH", Side::Right),
        ("FROM OFFSET", Side::Right),
        ("TRANSACTIONAL ID", Side::Left),
    ];
    let mut table = Table::new(&columns);
    for transaction in store.open_transactions()? {
        if json {
            print(open_line(&transaction).as_bytes())?;
            continue;
        }
        let identity = transaction.identity();
        table.row([
            transaction.topic().to_owned(),
            transaction.partition().to_string(),
            identity.id().to_string(),
            identity.epoch().to_string(),
            transaction.start().to_string(),
            or_dash(transaction.transactional_id()),
        ]);
    }
    store.close()?;
    if json { Ok(()) } else { table.print() }
}

fn open_line(transaction: &OpenTransaction) -> String {
    let identity = transaction.identity();
    Object::new()
        .field("topic", transaction.topic())
        .field("partition", transaction.partition().get())
        .field("producerId", identity.id().get())
        .field("producerEpoch", identity.epoch().get())
        .field("firstOffset", transaction.start().get())
        .field("transactionalId", transaction.transactional_id())
        .line()
}
