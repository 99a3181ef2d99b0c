//! Orders in SQLite, a record of each in a topic: both or neither, whatever moment this is killed
//! at, and nothing twice.
//!
//! `cargo run --release -- DIR [ORDERS]` in this directory; `cargo run --release -- DIR --check`
//! compares the topic with the database.
//!
//! - **Prepare.** The order's records are kept where no reader sees them, under an id.
//! - **Local work.** One transaction of the database writes the order and, in the table
//!   `decisions`, that the id is done. Each tenth order fails there.
//! - **Commit** or **roll back** by the id. If the program does not come to that, the resolver is
//!   asked, in this life or the next: it looks the id up. Where there is nothing it writes that the
//!   id is dropped, so that work which is still under way cannot be done any more: whoever writes
//!   the decision first decides.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use tidelog::{PreparedId, PreparedProducer, Record, Resolution, Store, TopicConfig};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS orders (number INTEGER PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS decisions (prepared INTEGER PRIMARY KEY, done INTEGER NOT NULL);
";

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (dir, second) = match &arguments[..] {
        [dir] => (dir, "1000"),
        [dir, second] => (dir, second.as_str()),
        _ => return Err("outbox DIR [ORDERS | --check]".into()),
    };
    let dir = Path::new(dir);
    std::fs::create_dir_all(dir)?;
    let store = Store::open(dir.join("records"))?;
    store.ensure_topic("orders", TopicConfig::new().partitions(2))?;
    store.ensure_topic("audit", TopicConfig::new())?;
    let outbox = outbox(&store, dir)?;
    settle(&store)?;
    if second == "--check" {
        let count = check(&store, &open_database(dir)?)?;
        println!("{count} orders, each with its records, once");
    } else {
        place_orders(&outbox, &mut open_database(dir)?, second.parse()?)?;
    }
    store.close()?;
    Ok(())
}

fn open_database(dir: &Path) -> Result<Connection, Failure> {
    let database = Connection::open(dir.join("orders.sqlite"))?;
    database.busy_timeout(Duration::from_secs(10))?;
    database.execute_batch(SCHEMA)?;
    Ok(database)
}

/// The producer, and who is asked about what it leaves behind.
fn outbox(store: &Store, dir: &Path) -> Result<PreparedProducer, Failure> {
    let database = std::sync::Mutex::new(open_database(dir)?);
    let builder = store.prepared("shop").first_check(Duration::from_millis(200));
    let outbox = builder.resolver(move |transaction| {
        let Ok(mut database) = database.lock() else { return Resolution::Unknown };
        match decide(&mut database, transaction.id(), false) {
            Ok(true) => Resolution::Commit,
            Ok(false) => Resolution::RollBack,
            Err(_) => Resolution::Unknown, // the database is busy: ask again
        }
    });
    Ok(outbox.build()?)
}

/// Whether the work of a prepared transaction is done: what was decided first, else `done`.
fn decide(database: &mut Connection, id: PreparedId, done: bool) -> Result<bool, Failure> {
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let decided = decision(&transaction, id)?;
    if decided.is_none() {
        let id = i64::try_from(id.get())?;
        transaction.execute("INSERT INTO decisions VALUES (?1, ?2)", (id, done))?;
    }
    transaction.commit()?;
    Ok(decided.unwrap_or(done))
}

fn decision(database: &Connection, id: PreparedId) -> Result<Option<bool>, Failure> {
    let id = i64::try_from(id.get())?;
    let query = "SELECT done FROM decisions WHERE prepared = ?1";
    Ok(database.query_row(query, [id], |row| row.get(0)).optional()?)
}

/// Waits until everything that an earlier life has left is resolved.
fn settle(store: &Store) -> Result<(), Failure> {
    while store.stats().prepared.pending > 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn place_orders(
    outbox: &PreparedProducer,
    database: &mut Connection,
    count: i64,
) -> Result<(), Failure> {
    let last = database.query_row("SELECT max(number) FROM orders", [], |row| row.get(0));
    let first = last.unwrap_or(None::<i64>).unwrap_or(0) + 1;
    for number in first..first + count {
        let text = number.to_string();
        let order = Record::new(&text).key(&text);
        let id = outbox.prepare(&[("orders", order), ("audit", Record::new(&text))])?;
        if place_order(database, number, id)? {
            outbox.commit(id)?;
        } else {
            outbox.roll_back(id)?;
        }
    }
    Ok(())
}

/// The local work; whether it was done.
fn place_order(database: &mut Connection, number: i64, id: PreparedId) -> Result<bool, Failure> {
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if decision(&transaction, id)?.is_some() {
        return Ok(false); // it took too long: the resolver was faster
    }
    transaction.execute("INSERT INTO orders VALUES (?1)", [number])?;
    if number % 10 == 0 {
        return Ok(false); // not in stock: nothing of it is kept
    }
    let prepared = i64::try_from(id.get())?;
    transaction.execute("INSERT INTO decisions VALUES (?1, TRUE)", [prepared])?;
    transaction.commit()?;
    Ok(true)
}

/// Compares the topics with the database; how many orders there are.
fn check(store: &Store, database: &Connection) -> Result<usize, Failure> {
    let mut query = database.prepare("SELECT number FROM orders")?;
    let orders: BTreeSet<i64> = query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for topic in ["orders", "audit"] {
        let mut seen = BTreeSet::new();
        let mut reader = store.reader().subscribe([topic]).build()?;
        for records in reader.read_to_end()? {
            for record in &records? {
                let number: i64 = std::str::from_utf8(record.value().unwrap_or_default())?.parse()?;
                if !seen.insert(number) {
                    return Err(format!("{topic}: order {number} is there twice").into());
                }
            }
        }
        if let Some(number) = orders.symmetric_difference(&seen).next() {
            return Err(format!("{topic}: order {number} is in one of the two only").into());
        }
    }
    Ok(orders.len())
}
