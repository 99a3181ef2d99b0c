//! The smallest whole program: open a store, make a topic, send a record, read it, commit.
//!
//! `cargo run --example quickstart [DIR]`. Run it twice on one directory: the second run reads
//! only what the second run sent, because the first committed what it had read.

use std::time::Duration;

use tidelog::{Record, Store, TopicConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "target/quickstart".to_owned());

    let store = Store::open(&dir)?;
    store.ensure_topic("orders", TopicConfig::new().partitions(4))?;

    let orders = store.producer().build()?.topic("orders")?;
    let receipt = orders.send(Record::new("hello").key("customer-7"))?;
    println!("stored at partition {}, offset {}", receipt.partition(), receipt.offset());

    let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
    for record in &consumer.poll(Duration::from_secs(1))? {
        println!(
            "read offset {}: {:?}",
            record.offset(),
            record.value().map(String::from_utf8_lossy)
        );
    }
    consumer.commit()?;

    store.close()?;
    Ok(())
}
