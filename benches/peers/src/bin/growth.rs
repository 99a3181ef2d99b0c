//! How Tidelog's costs grow: `cargo run --release --bin growth -- [AXES] [--plots DIR] [--large]`.
//!
//! Each axis is measured by itself, everything else at its usual value, each point three times,
//! the least time taken, so that what else the machine does shows least. Prints a Markdown table
//! an axis and draws it as SVG: flat, or with its slope to be explained. `--large` goes to the
//! sizes that take long: 20 GiB of log, 1,000 members, 10,000 segments.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use plotters::prelude::*;
use tidelog::{Consumer, Offset, Record, Store, TopicConfig, TopicProducer};

/// A curve: what it is of, and its points.
struct Curve {
    name: &'static str,
    points: Vec<(f64, f64)>,
}

struct Axis {
    name: &'static str,
    x: &'static str,
    y: &'static str,
    measure: fn(&Place, bool) -> Vec<Curve>,
}

const AXES: &[Axis] = &[
    Axis { name: "log-size", x: "MiB of log", y: "us", measure: log_size },
    Axis { name: "record-size", x: "bytes of a value", y: "ns", measure: record_size },
    Axis { name: "batch-size", x: "records a call", y: "ns a record", measure: batch_size },
    Axis { name: "partitions", x: "partitions", y: "ns a record", measure: partitions },
    Axis { name: "threads", x: "threads", y: "ns a record, all together", measure: threads },
    Axis { name: "members", x: "members of a group", y: "us", measure: members },
    Axis {
        name: "clients",
        x: "producers, and readers, of one store",
        y: "us each",
        measure: clients,
    },
    Axis { name: "segments", x: "segments", y: "us", measure: segments },
];

/// Where stores are made, one after the other.
struct Place(PathBuf);

impl Place {
    fn fresh(&self) -> &Path {
        let _ = std::fs::remove_dir_all(&self.0);
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The least of three, in nanoseconds for each of `count`.
fn least(count: usize, mut once: impl FnMut()) -> f64 {
    let time = |_| {
        let began = Instant::now();
        once();
        began.elapsed().as_nanos() as f64 / count as f64
    };
    (0..3).map(time).fold(f64::INFINITY, f64::min)
}

fn topic(store: &Store, name: &str, config: TopicConfig) -> TopicProducer {
    store.create_topic(name, config).expect("a new topic");
    store.producer().build().expect("a producer").topic(name).expect("the topic")
}

fn reader(store: &Store, records: usize) -> Consumer {
    let reader = store.reader().assign([("t", 0)]).max_bytes(1 << 20);
    reader.max_records(records).build().expect("a reader")
}

fn send(topic: &TopicProducer, value: &[u8], count: usize) {
    (0..count).for_each(|_| drop(topic.send(Record::new(value)).expect("an append")));
}

fn read_all(reader: &mut Consumer) {
    reader.seek_to_beginning("t", 0).expect("a seek");
    while !reader.try_poll().expect("a poll").is_empty() {}
}

/// Seeks spread over a log and reads the record there.
fn seek(reader: &mut Consumer, end: u64, count: u64) {
    for number in 0..count {
        let wanted = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % end;
        let offset = Offset::from(u32::try_from(wanted).expect("few records"));
        reader.seek("t", 0, offset).expect("a seek");
        assert!(!reader.try_poll().expect("a poll").is_empty());
    }
}

fn curves(names: &[&'static str]) -> Vec<Curve> {
    names.iter().map(|name| Curve { name, points: Vec::new() }).collect()
}

fn add(curves: &mut [Curve], x: usize, figures: &[f64]) {
    curves.iter_mut().zip(figures).for_each(|(curve, y)| curve.points.push((x as f64, *y)));
}

fn log_size(place: &Place, large: bool) -> Vec<Curve> {
    let mut all = curves(&["append of 100 B", "seek and read one", "open after a close, all"]);
    let mut store = Store::open(place.fresh()).expect("a new store");
    let mut to = topic(&store, "t", TopicConfig::new().segment_bytes(256 << 20));
    let value = vec![7; 1000];
    let values: Vec<_> = (0..60).map(|_| Record::new(&value)).collect();
    let mut end = 0;
    for mib in [1, 4, 16, 64, 256, 1024, 4096, 20480] {
        if mib > 1024 && !large {
            break;
        }
        while end < mib * 1024 {
            to.send_batch(&values).expect("an append");
            end += values.len();
        }
        let append = least(20_000, || send(&to, &[7; 100], 20_000));
        let seeking = least(2_000, || seek(&mut reader(&store, 1), end as u64, 2_000));
        let mut opening = f64::INFINITY;
        for _ in 0..3 {
            drop(to);
            store.close().expect("a close");
            let began = Instant::now();
            store = Store::open(&place.0).expect("a store");
            opening = opening.min(began.elapsed().as_nanos() as f64);
            to = store.producer().build().expect("a producer").topic("t").expect("the topic");
        }
        add(&mut all, mib, &[append / 1e3, seeking / 1e3, opening / 1e3]);
    }
    all
}

fn record_size(place: &Place, _large: bool) -> Vec<Curve> {
    let mut all = curves(&["append", "read"]);
    for size in [10, 100, 1_000, 10_000, 100_000, 1_000_000] {
        let store = Store::open(place.fresh()).expect("a new store");
        let to =
            topic(&store, "t", TopicConfig::new().set("max.message.bytes", "2000000").expect("it"));
        let value = vec![7; size];
        let count = (40_000_000 / (size + 200)).clamp(20, 100_000);
        let append = least(count, || send(&to, &value, count));
        let read = least(3 * count, || read_all(&mut reader(&store, usize::MAX)));
        add(&mut all, size, &[append, read]);
    }
    all
}

fn batch_size(place: &Place, _large: bool) -> Vec<Curve> {
    let mut all = curves(&["append", "read"]);
    for size in [1, 3, 10, 30, 100, 300, 1_000, 3_000] {
        let store = Store::open(place.fresh()).expect("a new store");
        let to = topic(&store, "t", TopicConfig::new());
        let records: Vec<_> = (0..size).map(|_| Record::new(&[7; 100])).collect();
        let calls = (200_000 / size).max(1);
        let append = least(calls * size, || {
            (0..calls).for_each(|_| drop(to.send_batch(&records).expect("an append")));
        });
        let read = least(3 * calls * size, || read_all(&mut reader(&store, usize::MAX)));
        add(&mut all, size, &[append, read]);
    }
    all
}

fn partitions(place: &Place, _large: bool) -> Vec<Curve> {
    let mut all =
        curves(&["append, round robin", "first append to each", "making each", "closing each"]);
    for count in [1, 10, 100, 1_000, 10_000] {
        let store = Store::open(place.fresh()).expect("a new store");
        let config = TopicConfig::new().partitions(u32::try_from(count).expect("few"));
        let began = Instant::now();
        let to = topic(&store, "t", config);
        let making = began.elapsed().as_nanos() as f64;
        let turn = || {
            for partition in 0..u32::try_from(count).expect("few") {
                to.send_to(partition, Record::new(&[7; 100])).expect("an append");
            }
        };
        let began = Instant::now();
        turn();
        let first = began.elapsed().as_nanos() as f64;
        let turns = (200_000 / count).max(10);
        let append = least(turns * count, || (0..turns).for_each(|_| turn()));
        let began = Instant::now();
        store.close().expect("a close");
        let closing = began.elapsed().as_nanos() as f64;
        let n = count as f64;
        add(&mut all, count, &[append, first / n, making / n, closing / n]);
    }
    all
}

fn threads(place: &Place, _large: bool) -> Vec<Curve> {
    let mut all = curves(&["to one partition", "to a partition each"]);
    for count in [1, 2, 4, 8, 16, 64] {
        let store = Store::open(place.fresh()).expect("a new store");
        let partitions = u32::try_from(count).expect("few");
        let one = topic(&store, "one", TopicConfig::new());
        let own = topic(&store, "own", TopicConfig::new().partitions(partitions));
        let each = 400_000 / count;
        let run = |to: &TopicProducer, partition: fn(u32) -> u32| {
            std::thread::scope(|scope| {
                for thread in 0..partitions {
                    scope.spawn(move || {
                        for _ in 0..each {
                            let record = Record::new(&[7; 100]);
                            to.send_to(partition(thread), record).expect("an append");
                        }
                    });
                }
            });
        };
        let together = least(each * count, || run(&one, |_| 0));
        let apart = least(each * count, || run(&own, |thread| thread));
        add(&mut all, count, &[together, apart]);
    }
    all
}

fn members(place: &Place, large: bool) -> Vec<Curve> {
    let mut all =
        curves(&["a poll that finds nothing", "a record to the member that has it", "joining"]);
    for count in [1, 10, 100, 300, 1_000] {
        if count > 300 && !large {
            break;
        }
        let store = Store::open(place.fresh()).expect("a new store");
        let partitions = u32::try_from(count).expect("few");
        let to = topic(&store, "t", TopicConfig::new().partitions(partitions));
        let began = Instant::now();
        let member = |_| store.consumer("g").subscribe(["t"]).build().expect("a member");
        let mut group: Vec<Consumer> = (0..count).map(member).collect();
        let settled =
            |group: &[Consumer]| group.iter().all(|member| member.assignment().len() == 1);
        while !settled(&group) {
            group.iter_mut().for_each(|member| drop(member.try_poll().expect("a poll")));
        }
        let joining = began.elapsed().as_nanos() as f64 / count as f64;
        let idle = least(10_000, || {
            (0..10_000).for_each(|n| drop(group[n % count].try_poll().expect("a poll")));
        });
        let (_, partition) = group[0].assignment().pop().expect("one");
        let handed = least(10_000, || {
            for _ in 0..10_000 {
                to.send_to(partition, Record::new(&[7; 100])).expect("an append");
                assert_eq!(group[0].try_poll().expect("a poll").len(), 1);
            }
        });
        add(&mut all, count, &[idle / 1e3, handed / 1e3, joining / 1e3]);
    }
    all
}

/// Producers and readers of one partition, all there at once. Of the readers each has been armed by
/// a poll that found nothing.
fn clients(place: &Place, _large: bool) -> Vec<Curve> {
    let mut all = curves(&[
        "a producer built",
        "its first send",
        "a reader built",
        "a poll that finds nothing",
        "a waiting reader dropped",
    ]);
    for count in [1, 10, 100, 1_000, 10_000] {
        let mut least_of = [f64::INFINITY; 5];
        for _ in 0..3 {
            let store = Store::open(place.fresh()).expect("a new store");
            store.create_topic("t", TopicConfig::new()).expect("a new topic");
            let built = || store.producer().build().expect("a producer");
            let (producers, building) = timed(|| (0..count).map(|_| built()).collect::<Vec<_>>());
            let ((), sending) = timed(|| {
                for producer in &producers {
                    let topic = producer.topic("t").expect("the topic");
                    topic.send(Record::new(&[7; 100])).expect("an append");
                }
            });
            let (mut readers, reading) =
                timed(|| (0..count).map(|_| reader(&store, 500)).collect::<Vec<_>>());
            for reader in &mut readers {
                reader.seek_to_end("t", 0).expect("a seek");
            }
            let ((), polling) = timed(|| {
                for reader in &mut readers {
                    assert!(reader.try_poll().expect("a poll").is_empty());
                }
            });
            let ((), dropping) = timed(|| drop(readers));
            for (least, time) in
                least_of.iter_mut().zip([building, sending, reading, polling, dropping])
            {
                *least = time.min(*least);
            }
        }
        add(&mut all, count, &least_of.map(|time| time / 1e3 / count as f64));
    }
    all
}

/// What comes of it, and the nanoseconds that it takes.
fn timed<T>(once: impl FnOnce() -> T) -> (T, f64) {
    let began = Instant::now();
    let value = once();
    (value, began.elapsed().as_nanos() as f64)
}

fn segments(place: &Place, large: bool) -> Vec<Curve> {
    let mut all = curves(&["append of 100 B", "seek and read one", "open after a close, all"]);
    for count in [1, 10, 100, 1_000, 10_000] {
        if count > 1_000 && !large {
            break;
        }
        let mut store = Store::open(place.fresh()).expect("a new store");
        let config = TopicConfig::new().set("segment.bytes", "16384").expect("it");
        let mut to = topic(&store, "t", config);
        // 15 values of 1,000 bytes fill a segment
        let records: Vec<_> = (0..15).map(|_| Record::new(&[7; 1000])).collect();
        (0..count).for_each(|_| drop(to.send_batch(&records).expect("an append")));
        let end = count as u64 * 15;
        let seeking = least(2_000, || seek(&mut reader(&store, 1), end, 2_000));
        let mut opening = f64::INFINITY;
        for _ in 0..3 {
            drop(to);
            store.close().expect("a close");
            let began = Instant::now();
            store = Store::open(&place.0).expect("a store");
            opening = opening.min(began.elapsed().as_nanos() as f64);
            to = store.producer().build().expect("a producer").topic("t").expect("the topic");
        }
        let append = least(1_000, || send(&to, &[7; 100], 1_000));
        add(&mut all, count, &[append / 1e3, seeking / 1e3, opening / 1e3]);
    }
    all
}

fn print(axis: &Axis, curves: &[Curve]) {
    println!("\n{}, {}\n", axis.name, axis.y);
    print!("| {} |", axis.x);
    curves.iter().for_each(|curve| print!(" {} |", curve.name));
    println!("\n| --- |{}", " --- |".repeat(curves.len()));
    for (number, (x, _)) in curves[0].points.iter().enumerate() {
        print!("| {x} |");
        curves.iter().for_each(|curve| print!(" {:.4} |", curve.points[number].1));
        println!();
    }
}

/// Both scales logarithmic: a slope of one is a cost that grows with the size.
fn plot(axis: &Axis, curves: &[Curve], path: &Path) -> Result<(), Box<dyn Error>> {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let ends = |of: fn(&(f64, f64)) -> f64| {
        let least = points().map(of).fold(f64::INFINITY, f64::min);
        least / 1.5..points().map(of).fold(0.0, f64::max) * 1.5
    };
    let root = SVGBackend::new(path, (720, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root);
    chart.caption(axis.name, ("sans-serif", 18)).margin(12);
    chart.x_label_area_size(40).y_label_area_size(70);
    let mut chart =
        chart.build_cartesian_2d(ends(|p| p.0).log_scale(), ends(|p| p.1).log_scale())?;
    chart.configure_mesh().x_desc(axis.x).y_desc(axis.y).draw()?;
    for (number, curve) in curves.iter().enumerate() {
        let color = Palette99::pick(number).stroke_width(2);
        let line = LineSeries::new(curve.points.iter().copied(), color).point_size(3);
        let drawn = chart.draw_series(line)?.label(curve.name);
        drawn.legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color));
    }
    let mut legend = chart.configure_series_labels();
    legend.background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    root.present()?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let large = words.iter().any(|word| word == "--large");
    let plots =
        words.iter().position(|word| word == "--plots").map(|at| PathBuf::from(&words[at + 1]));
    let named: Vec<_> =
        AXES.iter().filter(|axis| words.iter().any(|word| word == axis.name)).collect();
    let root = std::env::var_os("TIDELOG_BENCH_DIR").map(PathBuf::from);
    let root = root.unwrap_or_else(std::env::temp_dir);
    let place = Place(root.join(format!("tidelog-growth-{}", std::process::id())));
    for axis in if named.is_empty() { AXES.iter().collect() } else { named } {
        let curves = (axis.measure)(&place, large);
        print(axis, &curves);
        if let Some(dir) = &plots {
            std::fs::create_dir_all(dir)?;
            plot(axis, &curves, &dir.join(format!("growth-{}.svg", axis.name)))?;
        }
    }
    Ok(())
}
