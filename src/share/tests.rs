//! Tests of share groups: the pure state against a reference, and the bytes of its log.

mod reference;

use super::schema::fuzz;

#[test]
fn bytes_are_read_as_they_were_written() {
    let seeds = fuzz::seeds();
    seeds.iter().for_each(|seed| fuzz::schema(seed));
    // cut, and with each byte another
    for seed in seeds {
        (0..seed.len()).for_each(|len| fuzz::schema(&seed[..len]));
        for at in 1..seed.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = seed.clone();
                bytes[at] = value;
                fuzz::schema(&bytes);
            }
        }
    }
}
