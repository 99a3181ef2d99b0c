//! One leader and two followers, each a store on a simulated disk of its own, under a host that
//! knows Kafka's rules: elections by epoch, fetches of raw batches, divergent tails cut by where
//! epochs end (KIP-101, KIP-279), the high watermark the least end of the replicas in sync, as far
//! as that is durable. Processes are killed and power is cut at any of them.
//!
//! At every step no record below the high watermark may change, on any replica. In the end all
//! three have the same bytes and the same epochs.

mod cluster;
mod replica;

use cluster::Cluster;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::seeds::seeds;

#[test]
fn replicas_agree_on_all_below_the_high_watermark_and_in_the_end_on_every_byte() {
    for seed in seeds(10, 40, 3_000) {
        let random = &mut StdRng::seed_from_u64(seed);
        let mut cluster = Cluster::new(seed);
        for step in 0..120 {
            let what = format!("step {step}; TIDELOG_SEED={seed} repeats it");
            let any = random.random_range(0..3);
            match random.random_range(0..100) {
                0..35 => cluster.produce(random, &what),
                35..65 => cluster.fetch(any, random, &what),
                65..72 => cluster.flush(any, &what),
                72..79 => cluster.elect(random, &what),
                79..86 => cluster.stop(any, random),
                86..93 => cluster.start(any, &what),
                93..96 => cluster.delete_records(random, &what),
                _ => cluster.close_and_open(any, &what),
            }
            cluster.check(&what);
        }
        cluster.heal(&format!("at the end; TIDELOG_SEED={seed} repeats it"));
    }
}
