//! redb: a transaction a call, each synced: what is not synced is lost when the process is killed.

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::{Job, Side};

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("bench");

struct Tree(Database);

pub fn open(job: &Job<'_>) -> Box<dyn Side> {
    std::fs::create_dir_all(job.dir).expect("a directory");
    Box::new(Tree(Database::create(job.dir.join("redb")).expect("a new database")))
}

impl Side for Tree {
    fn append(&self, topic: usize, value: &[u8]) {
        self.append_many(topic, &[value]);
    }

    fn append_many(&self, _topic: usize, values: &[&[u8]]) {
        let transaction = self.0.begin_write().expect("a transaction");
        {
            let mut table = transaction.open_table(TABLE).expect("a table");
            let last = table.last().expect("a look").map(|(key, _)| key.value());
            let first = last.map_or(0, |last| last + 1);
            for (number, value) in (first..).zip(values) {
                table.insert(number, *value).expect("an insert");
            }
        }
        transaction.commit().expect("a commit");
    }

    fn append_synced(&self, topic: usize, value: &[u8]) {
        self.append(topic, value);
    }

    fn read(&self, _topic: usize, each: &mut dyn FnMut(&[u8])) {
        let transaction = self.0.begin_read().expect("a transaction");
        let table = transaction.open_table(TABLE).expect("a table");
        for pair in table.iter().expect("a look") {
            each(pair.expect("a pair").1.value());
        }
    }
}
